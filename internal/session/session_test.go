package session

import (
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestCapture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1", "n2")
		run := c.open(t.Context())
		if left := c.left(); len(left) > 0 {
			t.Fatalf("Open created %q", left)
		}
		for _, node := range []string{"n1", "n2"} {
			session := c.start(run, node)
			if session.Node() != node || session.Hello().Kernel != "Linux 6.18.4" || len(session.Ready().Interfaces) != 1 {
				t.Errorf("session: %s, %+v, %+v", session.Node(), session.Hello(), session.Ready())
			}
			if err := session.Go(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantPackets(t, session, "first", "second")
			if err := session.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantEnd(t, session)
			want := []Phase{PhaseCreating, PhaseConnecting, PhaseAttaching, PhaseReady}
			if got := c.phases(node); !slices.Equal(got, want) {
				t.Errorf("phases of %s: %v, want %v", node, got, want)
			}
			session.Close()
		}
		if got := c.left(); len(got) != 3 {
			t.Errorf("while it runs there are %q, want two pods and a job", got)
		}
		c.close(run)
	})
}

func wantPackets(t *testing.T, s *Session, blocks ...string) {
	t.Helper()
	for _, want := range blocks {
		kind, payload, err := s.ReadFrame(nil)
		if err != nil || kind != wire.KindPackets {
			t.Fatalf("frame of kind %d, %v, want packets", kind, err)
		}
		if _, got, err := wire.ParsePackets(payload); err != nil || string(got) != want {
			t.Fatalf("packets %q, %v, want %q", got, err, want)
		}
	}
}

func wantEnd(t *testing.T, s *Session) {
	t.Helper()
	if kind, _, err := s.ReadFrame(nil); kind != wire.KindEnd || err != nil {
		t.Fatalf("frame of kind %d, %v, want the end", kind, err)
	}
	for range 2 {
		if _, _, err := s.ReadFrame(nil); !errors.Is(err, io.EOF) {
			t.Fatalf("after the end: %v, want EOF", err)
		}
	}
}
