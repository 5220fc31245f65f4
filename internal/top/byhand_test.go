//go:build unix

package top

import (
	"math"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"golang.org/x/term"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// With TOP_BY_HAND set to the name of a view, this shows a made-up cluster on the
// terminal, to be tried by hand. It fails if the terminal is not given back as it
// was. SIGTERM ends it, and SIGUSR1 makes its source panic.
func TestByHand(t *testing.T) {
	view := os.Getenv("TOP_BY_HAND")
	if view == "" {
		t.Skip("TOP_BY_HAND is not set")
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
	defer stop()
	panics := make(chan os.Signal, 1)
	signal.Notify(panics, syscall.SIGUSR1)
	w, began := newWorld(), time.Now().Add(-10*time.Second)
	source := sourceFunc(func(by metrics.By) *metrics.Report {
		select {
		case <-panics:
			panic("as was asked")
		default:
		}
		now := time.Now()
		elapsed := now.Sub(began).Seconds()
		waves := 10*elapsed + 40*math.Sin(elapsed/5) // so that sparklines have a shape
		w.mu.Lock()
		w.now = worldBegan(waves)
		w.mu.Unlock()
		r := w.Report(by)
		r.Began, r.Ended = began, now
		return r
	})
	err = Run(ctx, Options{
		Source: source, View: View(view), In: tty, Out: tty, Color: os.Getenv("NO_COLOR") == "", Title: "by hand: namespace shop",
	})
	t.Logf("live view ended with %v", err)
	after, stateErr := term.GetState(int(tty.Fd()))
	if stateErr != nil {
		t.Fatal(stateErr)
	}
	if *before != *after {
		t.Errorf("the terminal was %+v, and is %+v", before, after)
	}
}

// worldBegan is a moment of a world's clock.
func worldBegan(seconds float64) time.Time {
	return began().Add(time.Duration(seconds * float64(time.Second)))
}
