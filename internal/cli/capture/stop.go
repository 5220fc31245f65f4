package capture

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
)

// A stopper starts all collectors at once, and ends them when it is time.
type stopper struct {
	run     *captureRun
	nodes   []*nodeRun
	totals  func() capture.Totals // of the merger; set before start and stop
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
	if duration == 0 {
		duration = maxCapture
	}
	over := time.NewTimer(duration)
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
	case <-s.stopped:
	case <-s.ended:
		return
	}
	s.stop(ctx)
}

// stop asks the collectors to finish, and closes the streams of those that do
// not. It returns when all have ended. A collector may have a full ring buffer
// to send through a slow stream, and the output may be a slow reader, so it has
// all the time that it makes use of.
func (s *stopper) stop(ctx context.Context) {
	s.once.Do(func() {
		close(s.stopped)
		s.run.narrator.Status("finishing")
		ctx := context.WithoutCancel(ctx)
		s.each(func(n *nodeRun) {
			// A stream that cannot be written to is read to its end all the same.
			_ = n.session.Stop(ctx)
		})
		if s.waitForProgress() {
			return
		}
		s.run.warn(fmt.Sprintf("collectors have sent nothing more for %s: what they hold is lost", finishTime))
		s.each(func(n *nodeRun) { _ = n.session.Close() })
	})
}

// waitForProgress waits for the end of every stream for as long as packets
// arrive; false when nothing has for finishTime.
func (s *stopper) waitForProgress() bool {
	tick := time.NewTicker(finishTime / 10)
	defer tick.Stop()
	last, since := s.totals(), time.Now()
	for {
		select {
		case <-s.ended:
			return true
		case now := <-tick.C:
			if totals := s.totals(); totals != last {
				last, since = totals, now
			}
			if now.Sub(since) >= finishTime {
				return false
			}
		}
	}
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
