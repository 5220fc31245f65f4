package top

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// An output remembers what a program has written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (o *output) waitFor(t *testing.T, text string) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(o.String(), text) {
		select {
		case <-deadline.C:
			t.Fatalf("no %q in %q", text, o.String())
		case <-tick.C:
		}
	}
}

// running is a live view that a test has started.
type running struct {
	in   *io.PipeWriter
	out  *output
	done chan error
}

// start runs it until ctx ends.
func start(ctx context.Context, t *testing.T, source Source) *running {
	in, keys := io.Pipe()
	t.Cleanup(func() { keys.Close() })
	r := &running{in: keys, out: &output{}, done: make(chan error, 1)}
	go func() {
		r.done <- Run(ctx, Options{Source: source, In: in, Out: r.out, Width: 80, Height: 24, Interval: 20 * time.Millisecond, Now: began})
	}()
	return r
}

// ended waits for the end, and fails unless the terminal was given back.
func (r *running) ended(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		out := r.out.String()
		enter, leave := strings.LastIndex(out, "\x1b[?1049h"), strings.LastIndex(out, "\x1b[?1049l")
		hide, show := strings.LastIndex(out, "\x1b[?25l"), strings.LastIndex(out, "\x1b[?25h")
		if enter < 0 || leave < enter || hide < 0 || show < hide {
			t.Errorf("the terminal is not as it was: %q", out)
		}
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("the live view goes on")
		return nil
	}
}

func (r *running) typed(t *testing.T, keys string) {
	t.Helper()
	if _, err := io.WriteString(r.in, keys); err != nil {
		t.Fatal(err)
	}
}

func TestRunUntilQuit(t *testing.T) {
	for _, last := range []string{"q", "\x03"} {
		r := start(t.Context(), t, newWorld())
		r.out.waitFor(t, "gateway-x2v4t")
		r.typed(t, "n") // other reports
		r.out.waitFor(t, "TARGETS")
		r.out.waitFor(t, "node-2")
		r.typed(t, "dj") // in one piece
		r.out.waitFor(t, "> NO_SOCKET")
		r.typed(t, "/NETF")
		r.out.waitFor(t, "filter: NETF_")
		r.typed(t, "\r"+last)
		if err := r.ended(t); err != nil {
			t.Error(err)
		}
	}
}

func TestRunUntilContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := start(ctx, t, newWorld())
	r.out.waitFor(t, "gateway-x2v4t")
	cancel()
	if err := r.ended(t); err != nil {
		t.Error(err)
	}
}

// sourceFunc is a source that is a function.
type sourceFunc func(by metrics.By) *metrics.Report

func (f sourceFunc) Report(by metrics.By) *metrics.Report { return f(by) }

func TestRunGivesTheTerminalBackAfterPanic(t *testing.T) {
	w := newWorld()
	inSource := sourceFunc(func(by metrics.By) *metrics.Report {
		if r := w.Report(by); w.asked < 3 {
			return r
		}
		panic("bad source")
	})
	err := start(t.Context(), t, inSource).ended(t)
	if err == nil || !strings.HasPrefix(err.Error(), "live view: panic: bad source\n") {
		t.Errorf("%v", err)
	}
	for _, broken := range []func(*program){
		func(p *program) { p.screen.now = nil },    // View
		func(p *program) { p.screen.frames = nil }, // Update
	} {
		out := &output{}
		s := newScreen(Options{Source: w, Now: began, Width: 80, Height: 24}.withDefaults())
		p := &program{screen: s, feed: newFeed(newWorld()), interval: time.Millisecond}
		broken(p)
		if err := p.run(t.Context(), Options{Out: out}); err == nil || !strings.Contains(err.Error(), "live view: panic: ") {
			t.Errorf("%v", err)
		}
		if got := out.String(); strings.LastIndex(got, "\x1b[?1049l") < strings.LastIndex(got, "\x1b[?1049h") {
			t.Errorf("the terminal is not as it was: %q", got)
		}
	}
}

func TestSlowSourceDoesNotStopKeys(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	r := start(t.Context(), t, sourceFunc(func(metrics.By) *metrics.Report { <-release; return nil }))
	r.out.waitFor(t, waiting)
	r.typed(t, "q")
	if err := r.ended(t); err != nil {
		t.Error(err)
	}
}

func TestKeysOfMessages(t *testing.T) {
	for _, test := range []struct {
		msg  tea.Key
		want key
	}{
		{tea.Key{Code: 'é', Text: "é"}, key{"é", "é"}},
		{tea.Key{Code: tea.KeySpace, Text: " "}, key{" ", " "}},
		{tea.Key{Code: 'g', Text: "G", Mod: tea.ModShift}, key{"G", "G"}},
		{tea.Key{Code: 'q', Mod: tea.ModAlt}, key{"alt+q", ""}},
		{tea.Key{Code: 'c', Mod: tea.ModCtrl}, key{"ctrl+c", ""}},
		{tea.Key{Code: tea.KeyEnter}, key{"enter", ""}},
		{tea.Key{Code: tea.KeyEscape}, key{"esc", ""}},
		{tea.Key{Code: tea.KeyBackspace}, key{"backspace", ""}},
		{tea.Key{Code: tea.KeyPgDown}, key{"pgdown", ""}},
		{tea.Key{Code: tea.KeyTab, Mod: tea.ModShift}, key{"shift+tab", ""}},
	} {
		if got := pressed(tea.KeyPressMsg(test.msg)); got != test.want {
			t.Errorf("%v: %q, want %q", test.msg, got, test.want)
		}
	}
}
