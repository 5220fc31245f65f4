package inventory

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A keeper is a collector's side of execs: it says each status when told to go
// on, and then ends the conversation, or fails.
type keeper struct {
	execs    atomic.Int32
	statuses chan wire.Status // closed: the end
	failure  string
}

// Exec implements session.Executor.
func (k *keeper) Exec(ctx context.Context, _ types.NamespacedName, _ []string, stdin io.Reader, stdout, _ io.Writer) error {
	k.execs.Add(1)
	var mu sync.Mutex
	w, r := wire.NewWriter(stdout), wire.NewReader(bufio.NewReader(stdin))
	say := func(kind wire.Kind, message any) {
		mu.Lock()
		defer mu.Unlock()
		_ = w.WriteJSON(kind, message) // nobody may be there any more
	}
	say(wire.KindHello, wire.Hello{Version: wire.Version})
	pinged := make(chan struct{})
	go func() {
		first := sync.OnceFunc(func() { close(pinged) })
		for {
			kind, payload, err := r.ReadFrame(nil)
			if err != nil {
				return
			}
			var ping wire.Ping
			if kind == wire.KindPing && json.Unmarshal(payload, &ping) == nil {
				say(wire.KindPong, wire.Pong{Seq: ping.Seq, TimeNS: 1})
				first()
			}
		}
	}()
	select {
	case <-pinged:
	case <-ctx.Done():
		return nil
	}
	if k.failure != "" {
		say(wire.KindFailure, wire.Failure{Cause: k.failure})
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case status, more := <-k.statuses:
			if !more {
				mu.Lock()
				defer mu.Unlock()
				return w.WriteEnd(wire.End{Reason: wire.EndStop})
			}
			say(wire.KindStatus, status)
		}
	}
}

func ask(t *testing.T, l *Live) (wire.Status, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return l.Status(ctx, "netops", "r1", "n1", "retina-r1-0")
}

func TestLiveGoesOnListening(t *testing.T) {
	k := &keeper{statuses: make(chan wire.Status, 1)}
	l := NewLive(t.Context(), world(), k)
	defer l.Close()
	k.statuses <- wire.Status{Phase: wire.PhaseCapturing}
	if s, err := ask(t, l); err != nil || s.Phase != wire.PhaseCapturing {
		t.Fatalf("%+v, %v", s, err)
	}
	k.statuses <- wire.Status{Phase: wire.PhaseDone}
	close(k.statuses)
	for {
		s, err := ask(t, l)
		if err != nil {
			t.Fatal(err)
		}
		if s.Phase == wire.PhaseDone {
			break
		}
	}
	if n := k.execs.Load(); n != 1 {
		t.Errorf("%d execs, want 1", n)
	}
}

func TestLiveBeginsAnewAfterAFailure(t *testing.T) {
	k := &keeper{statuses: make(chan wire.Status, 1), failure: "this collector has no capture"}
	l := NewLive(t.Context(), world(), k)
	defer l.Close()
	for range 2 {
		if s, err := ask(t, l); err == nil || !strings.Contains(err.Error(), k.failure) {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if n := k.execs.Load(); n != 2 {
		t.Errorf("%d execs, want 2", n)
	}
}

func TestLiveWaitsNoLongerThanAsked(t *testing.T) {
	l := NewLive(t.Context(), world(), &keeper{statuses: make(chan wire.Status)})
	defer l.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.DeadlineExceeded)
	if _, err := l.Status(ctx, "netops", "r1", "n1", "retina-r1-0"); err == nil {
		t.Error("there is a status of a collector that has said nothing")
	}
}

func TestLiveClosed(t *testing.T) {
	l := NewLive(t.Context(), world(), &keeper{})
	l.Close()
	if _, err := ask(t, l); err == nil {
		t.Error("a closed one asks")
	}
}
