package top

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// Run shows the live view until the user quits or ctx ends, which is no error. The
// terminal is as it was before when Run returns, whatever happened. Out must be a
// terminal that can move its cursor; for anything else there is [Print].
func Run(ctx context.Context, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	o = o.withDefaults()
	p := &program{screen: newScreen(o), feed: newFeed(o.Source), interval: o.Interval}
	return p.run(ctx, o)
}

func (p *program) run(ctx context.Context, o Options) error {
	// Signals are main's: it ends ctx. Ctrl-C is a key here.
	t := tea.NewProgram(p, tea.WithContext(ctx), tea.WithoutSignalHandler(), tea.WithColorProfile(colorprofile.ANSI),
		tea.WithWindowSize(o.Width, o.Height),
		tea.WithInput(o.In), tea.WithOutput(o.Out))
	p.quit = t.Quit
	_, err := t.Run()
	switch {
	case p.broken != nil:
		return p.broken
	case err != nil && ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("live view: %w", err)
	}
	return nil
}

// A program joins the screen and the feed to the terminal. What panics in it ends
// it in order, so that the terminal is restored first and the cause can be read.
type program struct {
	screen   *screen
	feed     *feed
	interval time.Duration
	quit     func()
	broken   error // why it cannot go on
}

// Messages of the program to itself.
type (
	polled struct {
		by     metrics.By
		frame  *frame
		again  bool  // after an interval
		broken error // instead of a frame
	}
	tick struct{}
)

// Init implements [tea.Model].
func (p *program) Init() tea.Cmd { return p.poll(true) }

// poll asks the source, in a goroutine of its own. again keeps the polling going;
// there is always one poll that does.
func (p *program) poll(again bool) tea.Cmd {
	by := p.screen.by()
	return func() (msg tea.Msg) {
		defer func() {
			if cause := recover(); cause != nil {
				msg = polled{broken: panicked(cause)}
			}
		}()
		return polled{by: by, frame: p.feed.next(by), again: again}
	}
}

// Update implements [tea.Model].
func (p *program) Update(msg tea.Msg) (model tea.Model, then tea.Cmd) {
	defer func() {
		if cause := recover(); cause != nil {
			p.broken, model, then = panicked(cause), p, tea.Quit
		}
	}()
	switch msg := msg.(type) {
	case polled:
		return p, p.take(msg)
	case tick:
		return p, p.poll(true)
	case tea.WindowSizeMsg:
		p.screen.resize(msg.Width, msg.Height)
	case tea.KeyPressMsg:
		return p, p.press(pressed(msg))
	case tea.PasteMsg:
		return p, p.press(key{name: "paste", typed: msg.Content})
	}
	return p, nil
}

func (p *program) take(answer polled) tea.Cmd {
	if answer.broken != nil {
		p.broken = answer.broken
		return tea.Quit
	}
	p.screen.arrive(answer.by, answer.frame)
	if !answer.again {
		return nil
	}
	return tea.Tick(p.interval, func(time.Time) tea.Msg { return tick{} })
}

// press gives a key to the screen.
func (p *program) press(k key) tea.Cmd {
	before := p.screen.by()
	switch p.screen.press(k) {
	case quit:
		return tea.Quit
	case suspend:
		return tea.Suspend
	case redraw:
		return tea.ClearScreen
	}
	if p.screen.by() != before {
		return p.poll(false) // now, not at the next tick
	}
	return nil
}

// pressed is the key of a message.
func pressed(msg tea.KeyPressMsg) key {
	if msg.Text != "" {
		return key{name: msg.Text, typed: msg.Text}
	}
	return key{name: msg.String()}
}

// View implements [tea.Model].
func (p *program) View() (screen tea.View) {
	defer func() {
		if cause := recover(); cause != nil {
			if p.broken == nil {
				p.broken = panicked(cause)
				go p.quit() // which waits for the goroutine that is here
			}
			screen = tea.View{AltScreen: true}
		}
	}()
	screen = tea.NewView(p.screen.render())
	screen.AltScreen = true
	return screen
}

// panicked is the error of a panic, with where it happened.
func panicked(cause any) error {
	return errors.New("live view: " + fmt.Sprint("panic: ", cause, "\n", string(debug.Stack())))
}
