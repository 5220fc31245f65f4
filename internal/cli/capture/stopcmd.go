package capture

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const stopLong = `End captures now, and keep what they have: the nodes complete their archives
and store them, as they would have done at the end of the duration.

The command waits until every archive is stored, or kept to be downloaded.
Interrupted, it leaves that to the nodes.`

type stopOptions struct {
	existing
	noWait bool
	quiet  bool
}

// NewStop returns the command.
func NewStop(flags *kube.Flags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &stopOptions{existing: newExisting(flags, streams)}
	cmd := &cobra.Command{
		Use:     "stop NAME ...",
		Short:   "End captures now, and store what they have",
		Long:    stopLong,
		Example: "  kubectl retina capture stop night",
		Args:    someNames(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := captureNames(args)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), names)
		},
		ValidArgsFunction: o.completeNames(0),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&o.noWait, "no-wait", false, "return when the captures have ended, before their archives are stored")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print only warnings and errors")
	return cmd
}

func (o *stopOptions) run(ctx context.Context, names []string) error {
	if err := o.connect(); err != nil {
		return err
	}
	captures, err := o.find(ctx, names)
	if err != nil {
		return err
	}
	for _, c := range captures {
		if err := o.stoppable(c); err != nil {
			return err
		}
	}
	s := &stopping{existing: &o.existing, noWait: o.noWait, narrator: newNarrator(o.streams.ErrOut, o.quiet)}
	defer s.narrator.Close()
	for _, c := range captures {
		s.add(ctx, c)
	}
	return s.run(ctx)
}

// stoppable refuses a capture that only its own command can end in order.
func (o *stopOptions) stoppable(c *inventory.Capture) error {
	if c.Mode != inventory.ModeStream {
		return nil
	}
	return hint.Wrap(fmt.Errorf("capture %s is streamed to the command that was started: nothing of it is on the nodes to be stored", c.Name),
		fmt.Sprintf("end that command with Ctrl-C; if it cannot be reached: kubectl retina capture delete %s%s, and what it has written stays", c.Name, o.elsewhere()))
}

// A stopping ends captures on all their nodes at once.
type stopping struct {
	*existing
	noWait   bool
	narrator *narrator

	mu    sync.Mutex
	nodes []*stopNode
	runs  []*session.Run
}

// A stopNode is what becomes of one node.
type stopNode struct {
	capture *inventory.Capture
	node    *inventory.Node
	run     *session.Run
	err     error

	status wire.Status // the latest, under the lock of stopping
}

func (s *stopping) add(ctx context.Context, c *inventory.Capture) {
	var run *session.Run
	for i := range c.Nodes {
		n := &stopNode{capture: c, node: &c.Nodes[i]}
		if n.node.Attachable {
			if run == nil {
				run = s.join(context.WithoutCancel(ctx), c)
				s.runs = append(s.runs, run)
			}
			n.run = run
		}
		s.nodes = append(s.nodes, n)
	}
}

func (s *stopping) run(ctx context.Context) error {
	told := s.narrator.Progress(s.text)
	var all sync.WaitGroup
	slots := make(chan struct{}, maxParallel)
	for _, n := range s.nodes {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			n.err = s.stop(ctx, n)
		})
	}
	all.Wait()
	told()
	for _, run := range s.runs {
		_ = run.Close(ctx) // it owns nothing
	}
	if ctx.Err() != nil {
		s.narrator.Info("the nodes go on without this command: kubectl retina capture list" + s.elsewhere())
		return exit.With(exit.Interrupted, exit.ErrSilent)
	}
	return s.verdict()
}

// stop ends a capture on one node, and waits for what becomes of it.
func (s *stopping) stop(ctx context.Context, n *stopNode) error {
	if n.run == nil {
		return n.idle()
	}
	k := keeper{run: n.run, node: n.node.Name, pod: n.node.Pod}
	err := k.follow(ctx, func(ctx context.Context, talk *session.Session) error { return talk.Stop(ctx) }, func(status wire.Status) bool {
		s.mu.Lock()
		n.status = status
		s.mu.Unlock()
		switch status.Phase {
		case wire.PhaseKept, wire.PhaseDone, wire.PhaseFailed:
			return true
		case wire.PhaseFinishing, wire.PhaseStoring:
			return s.noWait
		}
		return false
	})
	if err == nil && n.status.Phase == wire.PhaseFailed {
		err = hint.Wrap(fmt.Errorf("node %s: %s", n.node.Name, n.status.Error), n.status.Hint)
	}
	return err
}

// idle is about a node whose collector cannot be told to stop.
func (n *stopNode) idle() error {
	switch n.node.Status {
	case inventory.Done, inventory.Ending:
		return nil
	case inventory.Starting:
		return hint.Wrap(fmt.Errorf("node %s: the collector has not started yet", n.node.Name), "try again, or: kubectl retina capture delete "+n.capture.Name)
	}
	return hint.Wrap(fmt.Errorf("node %s: %s", n.node.Name, firstText(n.node.Reason, "the collector has failed")), n.node.Hint)
}

func firstText(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// text is how far all nodes are, in one line.
func (s *stopping) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	var stored int64
	for _, n := range s.nodes {
		word := "stopping"
		switch n.status.Phase {
		case wire.PhaseFinishing:
			word = "completing the archive"
		case wire.PhaseStoring:
			word = "storing"
		case wire.PhaseKept, wire.PhaseDone, wire.PhaseFailed:
			word = "ended"
		}
		if n.run == nil {
			word = "ended"
		}
		counts[word]++
		for _, one := range n.status.Stores {
			stored += max(0, one.Bytes)
		}
	}
	var words []string
	for _, word := range []string{"stopping", "completing the archive", "storing", "ended"} {
		if counts[word] > 0 {
			words = append(words, fmt.Sprintf("%d %s", counts[word], word))
		}
	}
	text := fmt.Sprintf("%s: %s", plural(len(s.nodes), "node"), strings.Join(words, ", "))
	if stored > 0 {
		text += ", " + humanize.Bytes(uint64(stored)) + " stored"
	}
	return text
}

// verdict tells what became of each node, and chooses the exit code.
func (s *stopping) verdict() error {
	failed, unstored := 0, 0
	for _, n := range s.nodes {
		if n.err != nil {
			failed++
			s.narrator.Failed(n.node.Name, n.err)
			continue
		}
		unstored += s.tell(n)
	}
	switch {
	case failed == len(s.nodes) && failed > 0:
		return exit.With(exit.Failed, exit.ErrSilent)
	case failed > 0 || unstored > 0:
		return exit.With(exit.Partial, exit.ErrSilent)
	}
	return nil
}

// tell tells of a node that has stopped, and returns how many destinations do not
// have its archive.
func (s *stopping) tell(n *stopNode) (unstored int) {
	switch n.status.Phase {
	case "":
		s.narrator.Info(fmt.Sprintf("%s: %s had ended already", n.node.Name, n.capture.Name))
	case wire.PhaseFinishing, wire.PhaseStoring:
		s.narrator.Info(fmt.Sprintf("%s: %s has ended with %s packets, and is being stored", n.node.Name, n.capture.Name, comma(n.status.Packets)))
		return 0
	case wire.PhaseDone:
		s.narrator.Info(fmt.Sprintf("%s: %s has ended with %s packets", n.node.Name, n.capture.Name, comma(n.status.Packets)))
	}
	for _, one := range n.status.Stores {
		if one.Done {
			s.narrator.Info(fmt.Sprintf("%s: stored %s (%s) at %s", n.node.Name, one.Name, humanize.Bytes(uint64(max(0, one.Bytes))), one.Where))
			continue
		}
		if one.Error != "" {
			unstored++
			s.narrator.Failed(n.node.Name, hint.Wrap(fmt.Errorf("node %s: not stored at %s: %s", n.node.Name, one.Where, one.Error), one.Hint))
		}
	}
	if n.status.Phase == wire.PhaseKept {
		until := ""
		if n.status.KeptUntilNS > 0 {
			until = " until " + time.Unix(0, n.status.KeptUntilNS).Format(time.TimeOnly)
		}
		s.narrator.Info(fmt.Sprintf("%s: %s packets (%s) are kept%s: kubectl retina capture download %s%s", n.node.Name, comma(n.status.Packets),
			humanize.Bytes(uint64(max(0, n.status.StagedBytes))), until, n.capture.Name, s.elsewhere()))
	}
	return unstored
}
