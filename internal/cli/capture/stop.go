package capture

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
)

// A stopper starts all collectors at once, and ends them when it is time.
type stopper struct {
	run     *captureRun
	totals  func() capture.Totals // of the merger; set before start and stop
	once    sync.Once
	stopped chan struct{} // closed when stop has begun
	ended   chan struct{} // closed when every stream has ended

	mu       sync.Mutex
	sessions []*session.Session
	stopping bool
}

func newStopper(r *captureRun, nodes []*nodeRun) *stopper {
	s := &stopper{run: r, stopped: make(chan struct{}), ended: make(chan struct{})}
	for _, n := range nodes {
		s.sessions = append(s.sessions, n.session)
	}
	return s
}

// add has one more collector stopped with the others. It returns false when those
// have been told to already.
func (s *stopper) add(one *session.Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = append(s.sessions, one)
	return !s.stopping
}

// start says go, and stop when duration is over or ctx ends. The time runs
// whether or not there is traffic.
func (s *stopper) start(ctx context.Context, duration time.Duration) {
	s.each(func(one *session.Session) {
		if err := one.Go(context.WithoutCancel(ctx)); err != nil {
			one.Close() // its stream then ends with an error that is told
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
		s.mu.Lock()
		s.stopping = true
		s.mu.Unlock()
		close(s.stopped)
		s.run.narrator.Status("finishing")
		ctx := context.WithoutCancel(ctx)
		s.each(func(one *session.Session) {
			// A stream that cannot be written to is read to its end all the same.
			_ = one.Stop(ctx)
		})
		if s.waitForProgress() {
			return
		}
		s.run.warn(fmt.Sprintf("collectors have sent nothing more for %s: what they hold is lost", finishTime))
		s.each(func(one *session.Session) { _ = one.Close() })
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

func (s *stopper) each(f func(*session.Session)) {
	s.mu.Lock()
	sessions := slices.Clone(s.sessions)
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, one := range sessions {
		wg.Go(func() { f(one) })
	}
	wg.Wait()
}
