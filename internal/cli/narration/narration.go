// Package narration tells the user on standard error what is going on while a
// command works.
package narration

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
)

const (
	redraw = 200 * time.Millisecond // of the live line on a terminal
	report = 10 * time.Second       // between the lines of a pipe
)

// A Narrator tells the user on standard error what is going on: on a terminal
// with one line that changes below those that stay, elsewhere with whole lines
// only. It may be used concurrently.
type Narrator struct {
	w        io.Writer
	quiet    bool
	terminal *os.File // nil: not a terminal, or not to be drawn on

	mu    sync.Mutex
	drawn bool // the live line is on the screen
	muted bool
	kept  []string // lines that were told while muted
	nodes map[string]session.Phase
	hints map[string]bool // those that have been said
}

// phaseFailed is that of a node that will not become ready.
const phaseFailed session.Phase = "failed"

// New returns a narrator. When it is quiet it prints only warnings and errors.
func New(w io.Writer, quiet bool) *Narrator {
	n := &Narrator{w: w, quiet: quiet, nodes: map[string]session.Phase{}, hints: map[string]bool{}}
	if f, ok := w.(*os.File); ok && !quiet && os.Getenv("TERM") != "dumb" {
		if term.IsTerminal(int(f.Fd())) && takesEscapes(f) {
			n.terminal = f
		}
	}
	return n
}

// Plain ends the drawing of a live line: somebody else writes to the terminal. Call
// it before anything is told.
func (n *Narrator) Plain() { n.terminal = nil }

// Line prints a line that stays.
func (n *Narrator) Line(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.print(text)
}

// Status draws the live line; without a terminal it does nothing.
func (n *Narrator) Status(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.draw(text)
}

func (n *Narrator) draw(text string) {
	if n.terminal == nil || n.muted {
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

func (n *Narrator) clear() {
	if n.drawn {
		fmt.Fprint(n.w, "\r\x1b[K")
		n.drawn = false
	}
}

// Close takes the live line away.
func (n *Narrator) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clear()
}

// Warn prints a warning, however quiet.
func (n *Narrator) Warn(text string) { n.Line("warning: " + text) }

// Info prints a line unless quiet.
func (n *Narrator) Info(text string) {
	if !n.quiet {
		n.Line(text)
	}
}

// Starting draws which nodes are still starting.
func (n *Narrator) Starting(e session.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[e.Node] != phaseFailed {
		n.nodes[e.Node] = e.Phase
	}
	n.drawStarting()
}

func (n *Narrator) drawStarting() {
	if text := n.startingLine(); text != "" {
		n.draw(text)
	}
}

// startingLine names the nodes that are still starting, if any are.
func (n *Narrator) startingLine() string {
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

// Failed says why a node has no collector. Many nodes fail for one reason, so
// what to do about it is said once.
func (n *Narrator) Failed(node string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[node] = phaseFailed
	n.print("error: " + oneline.Text(err.Error()))
	if text := oneline.Text(hint.Of(err)); text != "" && !n.hints[text] {
		n.hints[text] = true
		n.print("hint: " + text)
	}
	n.drawStarting()
}

// Progress tells text, which changes, until the returned function is called,
// which tells the last of it.
func (n *Narrator) Progress(text func() string) (stop func()) {
	if n.quiet {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		period, tell := report, n.Info
		if n.terminal != nil {
			period, tell = redraw, n.Status
		}
		ticker := time.NewTicker(period)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				tell(text())
			case <-done:
				n.Info(text())
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// Duration is d without its zero parts: "10s", not "0h0m10s".
func Duration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Terminal reports whether the live line can be drawn.
func (n *Narrator) Terminal() bool { return n.terminal != nil }

// Mute keeps what is told until Unmute: the terminal is somebody else's.
func (n *Narrator) Mute() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clear()
	n.muted = true
}

// Unmute tells what has been kept, the last of it, and goes on as before.
func (n *Narrator) Unmute() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.muted = false
	for _, text := range n.kept {
		fmt.Fprintln(n.w, text)
	}
	n.kept = nil
}

// maxKept is how many lines are kept while muted.
const maxKept = 100

// print prints a line that stays; mu is held.
func (n *Narrator) print(text string) {
	if !n.muted {
		n.clear()
		fmt.Fprintln(n.w, text)
		return
	}
	if len(n.kept) == maxKept {
		n.kept = slices.Delete(n.kept, 0, 1)
	}
	n.kept = append(n.kept, text)
}
