package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/doctor"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// examineNodes starts a collector on each node and adds what they find, by node.
func (v *visit) examineNodes(ctx context.Context, nodes []target.Node) error {
	executor, err := session.NewRemoteExecutor(v.cluster.REST)
	if err != nil {
		return err
	}
	config := v.sessionConfig()
	config.Executor = executor
	run, err := session.Open(ctx, config)
	if err != nil {
		return err
	}
	found, errs := make([]*doctor.Node, len(nodes)), make([]error, len(nodes))
	slots := make(chan struct{}, maxParallel)
	var all sync.WaitGroup
	for i, node := range nodes {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			found[i], errs[i] = v.examineNode(ctx, run, node.Name)
		})
	}
	all.Wait()
	closeErr := run.Close(ctx)
	v.add(nodes, found, errs)
	if closeErr != nil {
		return fmt.Errorf("clean up: %w", closeErr)
	}
	return nil
}

// add adds the nodes' checks to the report.
func (v *visit) add(nodes []target.Node, found []*doctor.Node, errs []error) {
	examined := slices.DeleteFunc(slices.Clone(found), func(n *doctor.Node) bool { return n == nil })
	programs := doctor.Programs(examined)
	for i, n := range found {
		if n == nil {
			v.report.Add(unreached(nodes[i].Name, errs[i]))
			continue
		}
		v.report.Add(n.Checks()...)
		v.report.Add(programs[slices.Index(examined, n)])
	}
}

// unreached is the check of a node whose collector did not start or answer.
func unreached(node string, err error) doctor.Check {
	c := doctor.Check{Name: doctor.CheckCollector, Node: node, Status: doctor.Unknown, Hint: hint.Of(err)}
	c.Detail = strings.TrimPrefix(err.Error(), "node "+node+": ")
	if errors.Is(err, session.ErrImage) {
		c.Status = doctor.Fail
	}
	return c
}

// examineNode has one node examined. An error says why it was not.
func (v *visit) examineNode(ctx context.Context, run *session.Run, node string) (*doctor.Node, error) {
	began := time.Now()
	spec := wire.Spec{Doctor: &wire.DoctorSpec{Plugins: v.plugins, StreamMS: v.stream.Milliseconds()}}
	s, err := run.Start(ctx, node, spec)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	n := &doctor.Node{Name: node, Hello: s.Hello(), ReadyAfter: time.Since(began), StreamAsked: v.stream}
	if err := v.hear(ctx, s, n); err != nil {
		return nil, err
	}
	clock := s.Clock()
	n.Offset, n.Uncertainty = clock.Offset, clock.Uncertainty
	n.Image = v.imageOn(node)
	return n, nil
}

// imageOn is how the node got the image, by the kubelet's events.
func (v *visit) imageOn(node string) doctor.Image {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.pulled[node]:
		return doctor.ImagePulled
	case v.seesEvents:
		return doctor.ImageThere
	}
	return doctor.ImageUnknown
}

// hear reads what the collector says. The stream is read all the time, also while
// others have their turn to fill theirs.
func (v *visit) hear(ctx context.Context, s *session.Session, n *doctor.Node) error {
	var turn sync.WaitGroup
	defer turn.Wait()
	over := make(chan struct{})
	defer close(over)
	buf := make([]byte, wire.FillerBytes)
	examined := false
	var first time.Time
	for {
		kind, payload, err := s.ReadFrame(buf)
		switch {
		case errors.Is(err, io.EOF) && examined:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("node %s: collector ended without an answer", n.Name)
		case err != nil && examined:
			n.Cut = err
			return nil
		case err != nil:
			return err
		}
		switch kind {
		case wire.KindFailure:
			return fmt.Errorf("node %s: %w", n.Name, failure(payload))
		case wire.KindExamined:
			if err := take(payload, &n.Examined); err != nil {
				return fmt.Errorf("node %s: %w", n.Name, err)
			}
			examined = true
			v.narrator.Status("looking at " + n.Name)
			turn.Go(func() { v.takeTurn(ctx, s, over) })
		case wire.KindFiller:
			if first.IsZero() {
				first = time.Now() // its bytes took time before that: they do not count
				continue
			}
			n.StreamBytes += uint64(len(payload))
			n.StreamTime = time.Since(first)
		}
	}
}

// takeTurn lets the collector fill its stream when no other does, until over.
func (v *visit) takeTurn(ctx context.Context, s *session.Session, over <-chan struct{}) {
	select {
	case v.filling <- struct{}{}:
		defer func() { <-v.filling }()
	case <-over:
		return
	}
	if s.Go(ctx) == nil {
		<-over
	}
}

func failure(payload []byte) error {
	var f wire.Failure
	if err := json.Unmarshal(payload, &f); err != nil {
		return fmt.Errorf("collector's failure: %w", err)
	}
	return hint.Wrap(errors.New(oneline.Text(f.Cause)), oneline.Text(f.Hint))
}

// take reads the collector's answer: no more than it may hold, and no text that
// does more than print.
func take(payload []byte, e *wire.Examined) error {
	if err := json.Unmarshal(payload, e); err != nil {
		return fmt.Errorf("collector's answer: %w", err)
	}
	if len(e.Tried) > wire.MaxTried || len(e.Programs) > wire.MaxPrograms {
		return fmt.Errorf("collector's answer names %d plugins and %d programs", len(e.Tried), len(e.Programs))
	}
	return nil
}
