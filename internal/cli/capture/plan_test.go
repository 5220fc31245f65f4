package capture

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

var shopPods = []target.Pod{
	{Namespace: "kube-system", Name: "proxy", CgroupUID: "u0", HostNetwork: true},
	{Namespace: "shop", Name: "web", CgroupUID: "u1", Owner: "Deployment/web", Containers: []string{"web", "sidecar"}},
}

func TestPlanNode(t *testing.T) {
	p := planNode(target.Node{Name: "n1", Pods: shopPods}, 96, "socket")
	want := wire.PacketsSpec{SnapLen: 96, RingBytes: ringBytes, Hook: "socket", KubeletPort: 10250, Targets: []wire.Target{
		{ID: 0, Name: "pod shop/web", PodUID: "u1"},
		{ID: nodeTarget, Name: "node n1", Node: true}, // because of the pod on its network
	}}
	if diff := cmp.Diff(want, p.packets); diff != "" {
		t.Error(diff)
	}
	spec := wire.Spec{Version: wire.Version, RunID: "a", MaxSeconds: 1, Packets: &p.packets}
	if err := spec.Validate(); err != nil {
		t.Error(err)
	}
	if w := p.warnings(); len(w) != 1 || w[0] != "pod kube-system/proxy uses the network of node n1: the interfaces of the node are captured, with everybody's packets" {
		t.Errorf("warnings %q", w)
	}
}

func TestInterfacesAreNamedForTheReader(t *testing.T) {
	p := planNode(target.Node{Name: "n1", Pods: shopPods}, 96, "")
	got, err := p.interfaces(wire.Hello{Kernel: "Linux 6.18"}, wire.Ready{SnapLen: 96, Interfaces: []wire.Interface{
		{ID: 0, Target: 0, Name: "eth0", LinkType: wire.LinkTypeEthernet, MAC: "02:00:00:00:00:01"},
		{ID: 1, Target: nodeTarget, Name: "tun0", LinkType: wire.LinkTypeRaw},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []capture.Interface{
		{Target: 0, Ifname: "eth0", Interface: pcapng.Interface{
			Name: "shop/web/eth0", Description: "node n1, pod shop/web, owner Deployment/web, containers web sidecar", OS: "Linux 6.18",
			MAC: []byte{2, 0, 0, 0, 0, 1}, LinkType: wire.LinkTypeEthernet, SnapLen: 96,
		}},
		{Target: nodeTarget, Ifname: "tun0", Interface: pcapng.Interface{
			Name: "n1/tun0", Description: "node n1, host-network pod kube-system/proxy", OS: "Linux 6.18", LinkType: wire.LinkTypeRaw, SnapLen: 96,
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestInterfacesOfAStrangeCollectorAreRefused(t *testing.T) {
	p := planNode(target.Node{Name: "n1", Pods: shopPods}, 96, "")
	for name, interfaces := range map[string][]wire.Interface{
		"gap":            {{ID: 1, Target: 0}},
		"unknown target": {{ID: 0, Target: 7}},
	} {
		if _, err := p.interfaces(wire.Hello{}, wire.Ready{Interfaces: interfaces}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRelayWarning(t *testing.T) {
	controlPlane := target.Node{Name: "cp", Whole: true, Object: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"node-role.kubernetes.io/control-plane": ""}}}}
	worker := target.Node{Name: "n1", Whole: true, Object: &corev1.Node{}}
	for name, test := range map[string]struct {
		nodes []target.Node
		want  bool
	}{
		"alone":                {[]target.Node{controlPlane}, false},
		"workers":              {[]target.Node{worker, worker}, false},
		"with workers":         {[]target.Node{controlPlane, worker}, true},
		"pods only, elsewhere": {[]target.Node{{Name: "cp", Pods: shopPods}, worker}, false},
	} {
		if got := relayWarning(test.nodes) != ""; got != test.want {
			t.Errorf("%s: warned %v", name, got)
		}
	}
}
