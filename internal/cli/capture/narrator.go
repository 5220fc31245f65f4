package capture

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/narration"
)

// A narrator tells what becomes of a capture.
type narrator struct {
	*narration.Narrator
	beginning sync.Once
	printing  bool // packets are printed: they show that it goes on
}

func newNarrator(w io.Writer, quiet bool) *narrator {
	return &narrator{Narrator: narration.New(w, quiet)}
}

// besidePackets has nothing drawn between packets that may be printed to the same
// terminal. Call it before anything is told.
func (n *narrator) besidePackets() {
	n.Plain()
	n.printing = true
}

// ready says that a node is ready and what it captures.
func (n *narrator) ready(node *nodeRun) {
	interfaces := map[uint32][]string{}
	for _, i := range node.session.Ready().Interfaces {
		interfaces[i.Target] = append(interfaces[i.Target], i.Name)
	}
	var words []string
	for _, t := range node.plan.packets.Targets {
		if names := interfaces[t.ID]; len(names) > 0 {
			words = append(words, fmt.Sprintf("%s (%s)", node.plan.target(t.ID), strings.Join(names, " ")))
		}
	}
	n.Info(fmt.Sprintf("%s: ready in %.1fs  %s", node.plan.node.Name, node.session.ReadyAfter().Seconds(), strings.Join(words, ", ")))
}

// capturing tells the counts of a running capture until the returned function
// is called.
func (n *narrator) capturing(duration time.Duration, totals func() capture.Totals) (stop func()) {
	if n.printing {
		return func() { n.began(duration) }
	}
	told := n.Progress(func() string {
		t := totals()
		return fmt.Sprintf("%s … %s packets, %s, %s lost", what(duration), comma(t.Packets), humanize.Bytes(t.Bytes), comma(t.Lost))
	})
	return func() {
		n.began(duration) // the output may have failed before the collectors heard it
		told()
	}
}

// began says, once, that all collectors have been told to go. A terminal shows
// it anyway.
func (n *narrator) began(duration time.Duration) {
	n.beginning.Do(func() {
		if !n.Terminal() {
			n.Info(what(duration))
		}
	})
}

func what(duration time.Duration) string {
	if duration == 0 {
		return "capturing until Ctrl-C"
	}
	return "capturing " + narration.Duration(duration)
}

func comma(n uint64) string { return humanize.Comma(int64(min(n, 1<<62))) }
