package narration

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
)

func TestNodeThatFailedIsNotStarting(t *testing.T) {
	n := New(&bytes.Buffer{}, false)
	n.Starting(session.Event{Node: "n1", Phase: session.PhasePulling})
	n.Starting(session.Event{Node: "n2", Phase: session.PhaseCreating})
	n.Failed("n1", errors.New("no"))
	n.Starting(session.Event{Node: "n1", Phase: session.PhaseStarting}) // it was on its way
	if got, want := n.startingLine(), "starting on 1 of 2 nodes: n2 creating"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	n.Starting(session.Event{Node: "n2", Phase: session.PhaseReady})
	if got := n.startingLine(); got != "" {
		t.Errorf("%q when nothing starts", got)
	}
}

func TestHintIsSaidOnce(t *testing.T) {
	var out bytes.Buffer
	n := New(&out, true)
	for _, node := range []string{"n1", "n2"} {
		n.Failed(node, hint.Wrap(errors.New("node "+node+": no\x1b[2J BTF"), "use a newer kernel"))
	}
	n.Failed("n3", hint.Wrap(errors.New("node n3: full"), "free some space"))
	want := "error: node n1: no[2J BTF\nhint: use a newer kernel\nerror: node n2: no[2J BTF\nerror: node n3: full\nhint: free some space\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestLiveLineFits(t *testing.T) {
	for width, want := range map[int]string{0: "müde", 1: "", 4: "müd", 5: "müde"} {
		if got := fit("müde", width); got != want {
			t.Errorf("width %d: %q, want %q", width, got, want)
		}
	}
}
