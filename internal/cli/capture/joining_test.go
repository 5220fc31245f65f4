package capture

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/target/follow"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A scene is a capture that follows, without any cluster: changes go in, and what
// its nodes are to be told is looked at.
type scene struct {
	*joining
	told bytes.Buffer // to the user
}

// newScene begins with these nodes, each with a collector that knows its plan.
func newScene(t *testing.T, config *config, nodes ...target.Node) *scene {
	t.Helper()
	s := &scene{}
	r := &captureRun{
		createOptions: &createOptions{now: time.Now}, config: config, narrator: newNarrator(&s.told, false),
		resolved: &target.Resolved{Nodes: nodes},
	}
	t.Cleanup(r.narrator.Close)
	for _, node := range nodes {
		plan := r.planFor(node)
		r.nodes = append(r.nodes, newNodeRun(&plan))
	}
	s.joining = joiningOf(t.Context(), r)
	r.joining = s.joining
	t.Cleanup(s.cancel)
	return s
}

func (s *scene) node1() *nodeRun { return s.run.nodes[0] }

func webPod(name, uid string) target.Pod {
	return target.Pod{Namespace: "shop", Name: name, UID: uid, CgroupUID: uid, Node: "n1"}
}

func ids(targets []wire.Target) (all []uint32) {
	for _, t := range targets {
		all = append(all, t.ID)
	}
	return all
}

// A collector removes before it adds: a pod in both lists would be captured for good.
func TestPodThatEndsBeforeItIsToldIsNotAdded(t *testing.T) {
	s := newScene(t, &config{}, target.Node{Name: "n1", Pods: []target.Pod{webPod("web-1", "u1")}})
	brief, stays := webPod("brief", "u2"), webPod("web-2", "u3")
	s.take(follow.Change{Added: []target.Pod{brief, stays}})
	s.take(follow.Change{Ended: []target.Pod{brief}})
	change, more := s.news(s.node1())
	if got := ids(change.Add); !more || len(got) != 1 || got[0] != 2 || len(change.Remove) != 0 {
		t.Errorf("told %+v, want only target 2 added", change)
	}
	if change, more = s.news(s.node1()); more {
		t.Errorf("told again: %+v", change)
	}
	s.take(follow.Change{Ended: []target.Pod{stays}})
	if change, _ = s.news(s.node1()); len(change.Add) != 0 || len(change.Remove) != 1 || change.Remove[0] != 2 {
		t.Errorf("told %+v, want only target 2 removed", change)
	}
	s.take(follow.Change{Added: []target.Pod{brief}})
	s.take(follow.Change{Ended: []target.Pod{brief}})
	if first := s.firstSpec(s.node1()).Packets.Targets; len(first) != 0 {
		t.Errorf("a collector begins with %+v, which has ended", first)
	}
}

// A pod that was selected and not captured is a failure, whether its collector notices
// that it has ended before the command does or after.
func TestPodThatEndsBeforeItIsCaptured(t *testing.T) {
	brief := webPod("brief", "u2")
	failed := []wire.TargetError{{Target: 1, Cause: "no process of the pod", Hint: "it may have ended"}}
	for name, happens := range map[string]func(*scene){
		"never told":     func(s *scene) { s.take(follow.Change{Ended: []target.Pod{brief}}) },
		"failed at last": func(s *scene) { s.news(s.node1()); s.take(follow.Change{Ended: []target.Pod{brief}}); s.fails(failed) },
		"failed first":   func(s *scene) { s.news(s.node1()); s.fails(failed); s.take(follow.Change{Ended: []target.Pod{brief}}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, &config{}, target.Node{Name: "n1", Pods: []target.Pod{webPod("web-1", "u1")}})
			s.take(follow.Change{Added: []target.Pod{brief}})
			happens(s)
			s.run.blameBrief()
			if err := s.run.verdict(t.Context(), &capture.Result{}, nil); exit.Code(err) != exit.Partial {
				t.Errorf("verdict %v", err)
			}
			pods := s.node1().summary().Pods
			if len(pods) != 2 || pods[1].Name != "brief" || pods[1].Error == "" || pods[1].Left == "" || pods[1].Joined != "" {
				t.Errorf("summary %+v", pods)
			}
			if lines := strings.Join(s.run.comings(), "\n"); !strings.Contains(lines, "shop/brief") || !strings.Contains(lines, pods[1].Error) {
				t.Errorf("table:\n%s", lines)
			}
			if n := strings.Count(s.told.String(), "warning: pod shop/brief"); n != 1 {
				t.Errorf("warned %d times:\n%s", n, s.told.String())
			}
		})
	}
}

func (s *scene) fails(failed []wire.TargetError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer(s.node1(), nil, failed)
}

// Pods that came at the end, and those whose sandbox turned out to be the one that is
// captured, have missed nothing.
func TestPodsThatMissNothing(t *testing.T) {
	web := webPod("web-1", "u1")
	s := newScene(t, &config{}, target.Node{Name: "n1", Pods: []target.Pod{web}})
	s.take(follow.Change{Changed: []target.Pod{web}, Added: []target.Pod{webPod("late", "u2")}})
	if change, _ := s.news(s.node1()); len(change.Add) != 2 {
		t.Fatalf("told %+v", change)
	}
	s.take(follow.Change{Ended: []target.Pod{web}})
	if change, _ := s.news(s.node1()); len(change.Remove) != 2 || change.Remove[0] != 0 || change.Remove[1] != 2 {
		t.Errorf("told %+v: the pod is known as 0 and 2", change)
	}
	s.run.blameBrief()
	if err := s.run.verdict(t.Context(), &capture.Result{}, nil); err != nil {
		t.Errorf("verdict %v", err)
	}
	if pods := s.node1().summary().Pods; len(pods) != 1 || pods[0].Error != "" || pods[0].Left == "" {
		t.Errorf("summary %+v", pods)
	}
	s.cancel()
	s.take(follow.Change{Added: []target.Pod{webPod("too late", "u3")}})
	if change, more := s.news(s.node1()); more {
		t.Errorf("told after the end: %+v", change)
	}
}

// What is over --max-nodes, or comes to a node whose collector has ended, is in the
// summary and in the verdict.
func TestPodsThatAreRefused(t *testing.T) {
	s := newScene(t, &config{}, target.Node{Name: "n1", Pods: []target.Pod{webPod("web-1", "u1")}})
	s.limit = 1
	far := webPod("far", "u2")
	far.Node = "n2"
	s.take(follow.Change{Added: []target.Pod{far}, NodesAdded: []target.Node{{Name: "n3", Whole: true}}})
	s.take(follow.Change{Changed: []target.Pod{far}})
	s.node1().follow.over = true
	s.take(follow.Change{Added: []target.Pod{webPod("near", "u3")}})
	var got []string
	for _, n := range s.run.summary(&capture.Result{Complete: true}, 0).Nodes {
		got = append(got, n.Name+": "+n.Error)
		for _, pod := range n.Pods {
			got = append(got, n.Name+"/"+pod.Name+": "+pod.Error)
		}
	}
	want := []string{
		"n1: ", "n1/web-1: ", "n1/near: the node's collector had ended",
		"n2: 1 node is captured already (--max-nodes)", "n2/far: 1 node is captured already (--max-nodes)",
		"n3: 1 node is captured already (--max-nodes)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := s.run.verdict(t.Context(), &capture.Result{}, nil); exit.Code(err) != exit.Partial {
		t.Errorf("verdict %v", err)
	}
	if n := strings.Count(s.told.String(), "what comes to node n2"); n != 1 {
		t.Errorf("warned %d times of n2:\n%s", n, s.told.String())
	}
}

// A node is captured for as long as something stands behind it.
func TestNodeOfPodsOnItsNetwork(t *testing.T) {
	proxy, agent := webPod("proxy", "h1"), webPod("agent", "h2")
	proxy.HostNetwork, agent.HostNetwork = true, true
	for name, test := range map[string]struct {
		node     target.Node
		vantages []wire.Vantage
		removed  bool
	}{
		"alone":      {target.Node{Name: "n1", Pods: []target.Pod{proxy}}, nil, true},
		"whole node": {target.Node{Name: "n1", Pods: []target.Pod{proxy}, Whole: true}, nil, false},
		"vantage":    {target.Node{Name: "n1", Pods: []target.Pod{proxy}}, []wire.Vantage{wire.VantageNode}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, &config{vantages: test.vantages}, test.node)
			n := s.node1()
			s.take(follow.Change{Added: []target.Pod{agent}, Changed: []target.Pod{proxy}})
			s.take(follow.Change{Ended: []target.Pod{proxy}})
			if change, more := s.news(n); more {
				t.Errorf("with one pod left: told %+v", change)
			}
			s.take(follow.Change{Ended: []target.Pod{agent}})
			change, _ := s.news(n)
			if removed := len(change.Remove) == 1 && change.Remove[0] == nodeTarget; removed != test.removed {
				t.Errorf("told %+v, want the node removed: %t", change, test.removed)
			}
			s.take(follow.Change{Added: []target.Pod{proxy}})
			if change, _ := s.news(n); (len(change.Add) == 1 && change.Add[0].Node) != test.removed {
				t.Errorf("told %+v, want the node added: %t", change, test.removed)
			}
			var stays []string
			for _, pod := range n.summary().Pods {
				stays = append(stays, fmt.Sprintf("%s joined=%t left=%t", pod.Name, pod.Joined != "", pod.Left != ""))
			}
			want := []string{"proxy joined=false left=true", "agent joined=true left=true", "proxy joined=true left=false"}
			if diff := cmp.Diff(want, stays); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A whole node that is selected no more stays a target where its pods' vantage needs
// it.
func TestWholeNodeThatEnds(t *testing.T) {
	for _, vantage := range []wire.Vantage{wire.VantagePod, wire.VantageNode} {
		s := newScene(t, &config{vantages: []wire.Vantage{vantage}}, target.Node{Name: "n1", Whole: true})
		s.take(follow.Change{NodesEnded: []target.Node{{Name: "n1"}}})
		if _, more := s.news(s.node1()); more != (vantage == wire.VantagePod) {
			t.Errorf("vantage %s: something to tell: %t", vantage, more)
		}
	}
}

func TestAnswers(t *testing.T) {
	s := newScene(t, &config{}, target.Node{Name: "n1", Pods: []target.Pod{webPod("web-1", "u1")}})
	s.take(follow.Change{Added: []target.Pod{webPod("a", "u2"), webPod("b", "u3")}})
	s.mu.Lock()
	s.answer(s.node1(), []wire.Interface{{Target: 1, Name: "eth0"}, {Target: 1, Name: "net1"}}, []wire.TargetError{
		{Target: 2, Cause: "no\nprocess", Hint: "look again"}, {Target: nodeTarget, Cause: "no interface", Hint: "look again"}, {Target: 77},
	})
	s.mu.Unlock()
	n := s.node1()
	if len(n.failed) != 2 || n.member(1).joined.IsZero() || n.missed(1) || n.missed(2) {
		t.Errorf("failed %+v, members %+v", n.failed, n.follow.members)
	}
	want := "n1: joined  pod shop/a (eth0 net1)\n" +
		"warning: pod shop/b is not captured: no; process\nhint: look again\nwarning: node n1 is not captured: no interface\n"
	if got := s.told.String(); got != want {
		t.Errorf("told:\n%s\nwant:\n%s", got, want)
	}
}

// A node that joins is looked at, as those of the beginning were.
func TestNodeThatJoinsIsLookedAt(t *testing.T) {
	object := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2", Labels: map[string]string{"node-role.kubernetes.io/control-plane": ""}}}
	object.Status.DaemonEndpoints.KubeletEndpoint.Port = 10666
	s := newScene(t, &config{}, target.Node{Name: "n1", Pods: []target.Pod{webPod("web-1", "u1")}})
	s.run.cluster = &kube.Cluster{Client: fake.NewClientset(object)}
	for name, want := range map[string]uint16{"n2": 10666, "n3": defaultKubeletPort} {
		plan := s.run.planFor(target.Node{Name: name})
		n := newNodeRun(&plan)
		s.run.nodes = append(s.run.nodes, n)
		s.look(n)
		if got := n.plan.packets.KubeletPort; got != want {
			t.Errorf("kubelet of node %s is looked for at port %d, want %d", name, got, want)
		}
	}
	const relays = "node n2 may run the API server"
	if strings.Contains(s.told.String(), relays) {
		t.Errorf("told of a node that is not captured whole:\n%s", s.told.String())
	}
	s.nodes["n2"] = s.run.nodes[slices.IndexFunc(s.run.nodes, func(n *nodeRun) bool { return n.plan.node.Name == "n2" })]
	s.nodes["n2"].follow = newFollowing(s.nodes["n2"])
	for range 2 {
		s.take(follow.Change{NodesAdded: []target.Node{{Name: "n2", Whole: true, Object: object}}})
	}
	if n := strings.Count(s.told.String(), relays); n != 1 {
		t.Errorf("told %d times:\n%s", n, s.told.String())
	}
}
