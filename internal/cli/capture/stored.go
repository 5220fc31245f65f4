package capture

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/clusterinfo"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// attendedTime is what an archive may take that the command waits for. It is no
	// dead man's switch: the lease is.
	attendedTime = 24 * time.Hour
	// storeTime is what an archive may take at least that nobody waits for, and
	// storeRate the bytes a second at which it should go at least.
	storeTime = 30 * time.Minute
	storeRate = 1 << 20
	// unlimitedTime is what one may take that has no limit.
	unlimitedTime = 6 * time.Hour
	// stateTime is how long the cluster's state after the capture is waited for: the
	// collectors wait little longer.
	stateTime = 8 * time.Second
	// tellingTime is how long a node is told of the cluster before it is left to
	// itself.
	tellingTime = time.Minute
	// beginning is how long collectors have to begin once they are ready.
	beginning = 30 * time.Second
	// reconnecting is how long a stream that was cut is tried to be had again; a
	// keeper waits for wire.Silence.
	reconnecting = 12 * time.Second
	reconnectGap = time.Second
)

// store has the nodes capture into files of their own and store them.
func (r *captureRun) store(ctx context.Context) (err error) {
	var names []pcapng.Name
	var before []clusterinfo.Document
	var asking sync.WaitGroup // while the pods start
	asking.Go(func() { names = r.names(ctx) })
	asking.Go(func() { before = r.clusterState(ctx) })
	started := r.start(ctx)
	asking.Wait()
	if len(started) == 0 || ctx.Err() != nil {
		if err = interrupted(ctx, nil); err == nil {
			err = r.nothingStarted()
		}
		if r.output != nil {
			err = errors.Join(err, r.output.Discard())
		}
		return err
	}
	if err := r.checkInterfaces(started); err != nil {
		if r.output != nil {
			err = errors.Join(err, r.output.Discard())
		}
		return err
	}
	clocks := make([]session.Clock, len(started))
	for i, n := range started {
		clocks[i] = n.session.Clock()
	}
	corrections := session.ClockCorrections(clocks)
	r.forEach(started, func(i int, n *nodeRun) {
		n.err = errors.Join(n.err, r.equip(ctx, n, corrections[i], names))
		if n.err != nil {
			_ = n.session.Close()
		}
	})
	if r.output != nil {
		if r.merging, err = mergeDir(r.write); err != nil {
			return errors.Join(fmt.Errorf("save archives: %w", err), r.output.Discard())
		}
	}
	began := time.Now()
	s := newStoring(r, started)
	s.before = before
	if r.noWait {
		return s.leave(ctx)
	}
	for _, n := range s.nodes {
		go r.tellAddresses(r.watching, n.addresses, func() *session.Session { return s.stream(n) }, true)
	}
	return s.attend(ctx, began)
}

func (r *captureRun) forEach(nodes []*nodeRun, f func(int, *nodeRun)) {
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { f(i, n) })
	}
	all.Wait()
}

// equip sends a collector what it does not know: the head of its packet files and
// the record of the capture.
func (r *captureRun) equip(ctx context.Context, n *nodeRun, correction time.Duration, names []pcapng.Name) error {
	interfaces, err := n.plan.interfaces(n.session.Hello(), n.session.Ready())
	if err != nil {
		return fmt.Errorf("node %s: %w", n.plan.node.Name, err)
	}
	for i := range interfaces {
		interfaces[i].Filter = r.config.filterText()
	}
	head, err := capture.Head(r.config.format, r.section([]*nodeRun{n}), interfaces, names)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.plan.node.Name, err)
	}
	if len(head) > wire.MaxHeadBytes {
		if head, err = capture.Head(r.config.format, r.section([]*nodeRun{n}), interfaces, nil); err != nil {
			return err
		}
		r.warn("the cluster has too many names for the packet files: they have none")
	}
	for len(head) > 0 {
		part := head[:min(len(head), wire.MaxPayload)]
		head = head[len(part):]
		if err := n.session.Tell(ctx, wire.KindHead, part); err != nil {
			return err
		}
	}
	return n.session.TellJSON(ctx, wire.KindRecord, r.record(n, correction))
}
