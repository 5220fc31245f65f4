package metrics

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/narration"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/target/follow"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// followed is an observer that has begun with one pod each on these nodes, and starts
// no collectors. told is what it has told the user.
func followed(t *testing.T, maxNodes int, nodes ...string) (o *observer, told *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	told = &bytes.Buffer{}
	o = &observer{
		options: &options{maxNodes: maxNodes}, narrator: narration.New(told, true), ctx: ctx, stopping: true,
		nodes: map[string]*nodeState{}, warned: map[string]bool{},
		directory: follow.NewDirectory(ctx, fake.NewClientset(), follow.Options{}), fold: metrics.NewFold(metrics.Options{}),
	}
	t.Cleanup(func() { cancel(); o.directory.Wait() })
	for _, node := range nodes {
		o.addPod(&target.Pod{Namespace: "a", Name: "first-" + node, UID: "first-" + node, Node: node})
	}
	o.agreed()
	return o, told
}

// skippedTargets are the targets that are not measured, and should be.
func skippedTargets(t *testing.T, o *observer) []string {
	t.Helper()
	var names []string
	for _, s := range o.fold.Report(metrics.ByPod).Skipped {
		if s.Party == nil || s.Party.Kind == "" {
			t.Errorf("%s: no party", s.Target)
		}
		names = append(names, s.Target+": "+s.Reason)
	}
	return names
}

func podOn(node, name string) target.Pod {
	return target.Pod{Namespace: "a", Name: name, UID: name, Node: node}
}

// No more nodes get a collector than the user has agreed to, also of those that come
// later; what is not measured because of that is told.
func TestMaxNodesHoldsLater(t *testing.T) {
	o, told := followed(t, 2, "n1")
	measured := func(names ...string) {
		t.Helper()
		var got []string
		for _, n := range o.fold.Report(metrics.ByNode).Nodes {
			got = append(got, n.Name)
		}
		if !slices.Equal(got, names) {
			t.Errorf("nodes are %v, want %v", got, names)
		}
	}
	o.take(&follow.Change{Added: []target.Pod{podOn("n2", "two"), podOn("n3", "three"), podOn("n1", "one")}})
	measured("n1", "n2")
	o.take(&follow.Change{Added: []target.Pod{podOn("n3", "again")}, NodesAdded: []target.Node{{Name: "n4"}}})
	measured("n1", "n2")
	const reason = ": 2 nodes are measured already (--max-nodes)"
	if got, want := skippedTargets(t, o), []string{"pod a/three" + reason, "pod a/again" + reason, "node n4" + reason}; !slices.Equal(got, want) {
		t.Errorf("skipped are %q, want %q", got, want)
	}
	if text := told.String(); strings.Count(text, "what comes to node n3 is not measured"+reason) != 1 || strings.Count(text, "\n") != 2 {
		t.Errorf("told:\n%s", text)
	}
	o.take(&follow.Change{Ended: []target.Pod{podOn("n3", "three"), podOn("n3", "again")}, NodesEnded: []target.Node{{Name: "n4"}}})
	if got := skippedTargets(t, o); len(got) > 0 {
		t.Errorf("skipped, though gone: %q", got)
	}
	o.take(&follow.Change{Ended: []target.Pod{podOn("n2", "two")}, Added: []target.Pod{podOn("n5", "five")}}) // there is room again
	measured("n1", "n2", "n5")
}

func TestNodesOfTheBeginningAreAgreedTo(t *testing.T) {
	for _, test := range []struct{ limit, want int }{{1, 2}, {0, 3}, {3, 3}} {
		o, _ := followed(t, test.limit, "n1", "n2")
		o.take(&follow.Change{Added: []target.Pod{podOn("n3", "three"), podOn("n2", "two")}})
		if got := len(o.fold.Report(metrics.ByNode).Nodes); got != test.want {
			t.Errorf("--max-nodes %d: %d nodes, want %d", test.limit, got, test.want)
		}
		if got := len(skippedTargets(t, o)); got != 3-test.want {
			t.Errorf("--max-nodes %d: %d targets are skipped", test.limit, got)
		}
	}
}

// A target that could not be attached to is tried again after a while, and counts as
// not measured until that succeeds.
func TestFailedTargetIsTriedAgain(t *testing.T) {
	o, told := followed(t, 0, "n1")
	now := time.Unix(1_700_000_000, 0)
	o.now, o.live = func() time.Time { return now }, true
	n := o.node("n1")
	id := n.wanted["first-n1"].id
	n.told = map[uint32]bool{id: true}
	fail := func() {
		t.Helper()
		n.failed([]wire.TargetError{{Target: id, Cause: "pod a/first-n1: note address 10.0.0.1: no room"}})
		if got, want := skippedTargets(t, o), []string{"pod a/first-n1: note address 10.0.0.1: no room"}; !slices.Equal(got, want) {
			t.Errorf("skipped are %q, want %q", got, want)
		}
	}
	rows := func(want int) {
		t.Helper()
		if got := len(o.fold.Report(metrics.ByPod).Rows); got != want {
			t.Errorf("%d rows, want %d", got, want)
		}
	}
	fail()
	now = now.Add(attachInterval - time.Second)
	if o.refresh(); !n.told[id] {
		t.Error("tried again too soon")
	}
	now = now.Add(time.Second)
	if o.refresh(); n.told[id] {
		t.Error("not tried again")
	}
	rows(0)
	n.told[id] = true
	fail()
	if o.refresh(); !n.told[id] {
		t.Error("tried again at once")
	}
	n.attached([]wire.Interface{{ID: 3, Target: id, Name: "eth0"}, {ID: 4, Target: 99}})
	rows(1)
	if got := skippedTargets(t, o); len(got) > 0 {
		t.Errorf("skipped, though measured: %q", got)
	}
	now = now.Add(time.Hour)
	if o.refresh(); !n.told[id] {
		t.Error("tried again, though measured")
	}
	if text := told.String(); strings.Count(text, "is not measured") != 1 {
		t.Errorf("told:\n%s", text)
	}
}
