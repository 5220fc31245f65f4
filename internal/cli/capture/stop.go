package capture

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A stopper starts all collectors at once, and ends them when it is time.
type stopper struct {
	run     *captureRun
	nodes   []*nodeRun
	once    sync.Once
	stopped chan struct{} // closed when stop has begun
	ended   chan struct{} // closed when every stream has ended
}

func newStopper(r *captureRun, nodes []*nodeRun) *stopper {
	return &stopper{run: r, nodes: nodes, stopped: make(chan struct{}), ended: make(chan struct{})}
}

// start says go, and stop when duration is over or ctx ends. The time runs
// whether or not there is traffic.
func (s *stopper) start(ctx context.Context, duration time.Duration) {
	s.each(func(n *nodeRun) {
		if err := n.session.Go(context.WithoutCancel(ctx)); err != nil {
			n.session.Close() // its stream then ends with an error that is told
		}
	})
	s.run.narrator.began(duration)
	var over <-chan time.Time
	if duration > 0 {
		timer := time.NewTimer(duration)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
	case <-ctx.Done():
	case <-s.stopped:
	case <-s.ended:
		return
	}
	s.stop(ctx)
}

// stop asks the collectors to finish, and closes the streams of those that do
// not. It returns when all have ended.
func (s *stopper) stop(ctx context.Context) {
	s.once.Do(func() {
		close(s.stopped)
		s.run.narrator.status("finishing")
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
		defer cancel()
		s.each(func(n *nodeRun) {
			// A stream that cannot be written to is read to its end all the same.
			_ = n.session.Stop(ctx)
		})
		select {
		case <-s.ended:
		case <-ctx.Done():
			s.run.warn(fmt.Sprintf("collectors did not finish within %s", finishTime))
			s.each(func(n *nodeRun) { _ = n.session.Close() })
		}
	})
}

// end is called when every stream has ended.
func (s *stopper) end() { close(s.ended) }

func (s *stopper) each(f func(*nodeRun)) {
	var wg sync.WaitGroup
	for _, n := range s.nodes {
		wg.Go(func() { f(n) })
	}
	wg.Wait()
}
