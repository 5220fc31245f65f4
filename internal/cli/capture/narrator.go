package capture

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
)

const (
	redraw = 200 * time.Millisecond // of the live line on a terminal
	report = 10 * time.Second       // between the lines of a pipe
)

// A narrator tells the user on standard error what is going on: on a terminal
// with one line that changes below those that stay, elsewhere with whole lines
// only. It may be used concurrently.
type narrator struct {
	w        io.Writer
	quiet    bool
	terminal *os.File // nil: not a terminal, or not to be drawn on

	mu    sync.Mutex
	drawn bool // the live line is on the screen
	nodes map[string]session.Phase
	hints map[string]bool // those that have been said

	beginning sync.Once
}

// phaseFailed is that of a node that will not become ready.
const phaseFailed session.Phase = "failed"

func newNarrator(w io.Writer, quiet bool) *narrator {
	n := &narrator{w: w, quiet: quiet, nodes: map[string]session.Phase{}, hints: map[string]bool{}}
	if f, ok := w.(*os.File); ok && !quiet && os.Getenv("TERM") != "dumb" {
		if term.IsTerminal(int(f.Fd())) && takesEscapes(f) {
			n.terminal = f
		}
	}
	return n
}

// line prints a line that stays.
func (n *narrator) line(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clear()
	fmt.Fprintln(n.w, text)
}

// status draws the live line; without a terminal it does nothing.
func (n *narrator) status(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.draw(text)
}

func (n *narrator) draw(text string) {
	if n.terminal == nil {
		return
	}
	width, _, err := term.GetSize(int(n.terminal.Fd()))
	if err != nil {
		width = 0
	}
	fmt.Fprint(n.w, "\r\x1b[K"+fit(text, width)) // carriage return, erase to the end of the line
	n.drawn = true
}

// fit cuts text so that it does not fill a line of the terminal: one that wraps
// cannot be taken back. Width 0 is one that the terminal does not know.
func fit(text string, width int) string {
	if runes := []rune(text); width > 0 && len(runes) >= width {
		return string(runes[:width-1])
	}
	return text
}

func (n *narrator) clear() {
	if n.drawn {
		fmt.Fprint(n.w, "\r\x1b[K")
		n.drawn = false
	}
}

// close takes the live line away.
func (n *narrator) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clear()
}

// warn prints a warning, however quiet.
func (n *narrator) warn(text string) { n.line("warning: " + text) }

// info prints a line unless quiet.
func (n *narrator) info(text string) {
	if !n.quiet {
		n.line(text)
	}
}

// starting draws which nodes are still starting.
func (n *narrator) starting(e session.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[e.Node] != phaseFailed {
		n.nodes[e.Node] = e.Phase
	}
	n.drawStarting()
}

func (n *narrator) drawStarting() {
	if text := n.startingLine(); text != "" {
		n.draw(text)
	}
}

// startingLine names the nodes that are still starting, if any are.
func (n *narrator) startingLine() string {
	var words []string
	for node, phase := range n.nodes {
		if phase != session.PhaseReady && phase != phaseFailed {
			words = append(words, node+" "+string(phase))
		}
	}
	if len(words) == 0 {
		return ""
	}
	slices.Sort(words)
	return fmt.Sprintf("starting on %d of %d nodes: %s", len(words), len(n.nodes), strings.Join(words, ", "))
}

// ready says that a node is ready and what it captures.
func (n *narrator) ready(node *nodeRun) {
	interfaces := map[uint32][]string{}
	for _, i := range node.session.Ready().Interfaces {
		interfaces[i.Target] = append(interfaces[i.Target], i.Name)
	}
	var words []string
	for id := range uint32(len(node.plan.packets.Targets)) {
		if names := interfaces[id]; len(names) > 0 {
			words = append(words, fmt.Sprintf("%s (%s)", node.plan.target(id), strings.Join(names, " ")))
		}
	}
	n.info(fmt.Sprintf("%s: ready in %.1fs  %s", node.plan.node.Name, node.session.ReadyAfter().Seconds(), strings.Join(words, ", ")))
}

// failed says why a node does not capture. Many nodes fail for one reason, so
// what to do about it is said once.
func (n *narrator) failed(node string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[node] = phaseFailed
	n.clear()
	fmt.Fprintln(n.w, "error: "+oneline.Text(err.Error()))
	if text := oneline.Text(hint.Of(err)); text != "" && !n.hints[text] {
		n.hints[text] = true
		fmt.Fprintln(n.w, "hint: "+text)
	}
	n.drawStarting()
}

// capturing tells the counts of a running capture until the returned function
// is called.
func (n *narrator) capturing(duration time.Duration, totals func() capture.Totals) (stop func()) {
	told := n.progress(func() string {
		t := totals()
		return fmt.Sprintf("%s … %s packets, %s, %s lost", what(duration), comma(t.Packets), humanize.Bytes(t.Bytes), comma(t.Lost))
	})
	return func() {
		n.began(duration) // the output may have failed before the collectors heard it
		told()
	}
}

// progress tells text, which changes, until the returned function is called,
// which tells the last of it.
func (n *narrator) progress(text func() string) (stop func()) {
	if n.quiet {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		period, tell := report, n.info
		if n.terminal != nil {
			period, tell = redraw, n.status
		}
		ticker := time.NewTicker(period)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				tell(text())
			case <-done:
				n.info(text())
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// began says, once, that all collectors have been told to go. A terminal shows
// it anyway.
func (n *narrator) began(duration time.Duration) {
	n.beginning.Do(func() {
		if n.terminal == nil {
			n.info(what(duration))
		}
	})
}

func what(duration time.Duration) string {
	if duration == 0 {
		return "capturing until Ctrl-C"
	}
	return "capturing " + shortDuration(duration)
}

// shortDuration is d without its zero parts: "10s", not "0h0m10s".
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func comma(n uint64) string { return humanize.Comma(int64(min(n, 1<<62))) }
