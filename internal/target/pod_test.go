package target

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestPod(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	tests := map[string]struct {
		pod  *corev1.Pod
		want Pod
	}{
		"of a deployment": {
			with(newPod("shop", "web-7c9d-x", "n1", "ReplicaSet/web-7c9d", "pod-template-hash=7c9d"), func(p *corev1.Pod) {
				p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}, {IP: "not an address"}}
				p.Spec.InitContainers = []corev1.Container{{Name: "migrate"}, {Name: "proxy", RestartPolicy: &always}}
			}),
			Pod{Name: "web-7c9d-x", Owner: "Deployment/web", IPs: addrs("10.0.0.1", "fd00::1"), Containers: []string{"app", "proxy"}},
		},
		"of a bare replicaset": {
			newPod("shop", "web-x", "n1", "ReplicaSet/web-7c9d"),
			Pod{Name: "web-x", Owner: "ReplicaSet/web-7c9d"},
		},
		"of a statefulset, one address": {
			with(newPod("shop", "db-0", "n1", "StatefulSet/db"), func(p *corev1.Pod) { p.Status.PodIP = "10.0.0.2" }),
			Pod{Name: "db-0", Owner: "StatefulSet/db", IPs: addrs("10.0.0.2")},
		},
		"static": {
			with(newPod("shop", "etcd", "n1", "Node/n1"), func(p *corev1.Pod) {
				p.Spec.HostNetwork = true
				p.Annotations = map[string]string{"kubernetes.io/config.hash": "abc", "kubernetes.io/config.mirror": "abc"}
			}),
			Pod{Name: "etcd", Owner: "Node/n1", CgroupUID: "abc", HostNetwork: true},
		},
		"pretending to be static": {
			with(newPod("shop", "evil", "n1"), func(p *corev1.Pod) {
				p.Annotations = map[string]string{"kubernetes.io/config.hash": "uid-of-another"}
			}),
			Pod{Name: "evil"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := selection(t, Request{Namespace: "shop", Args: []string{"pod/" + tt.pod.Name}}).
				Resolve(context.Background(), fake.NewClientset(tt.pod))
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			want.Namespace, want.Node, want.UID = "shop", "n1", "uid-"+want.Name
			if want.CgroupUID == "" {
				want.CgroupUID = want.UID
			}
			if want.Containers == nil {
				want.Containers = []string{"app"}
			}
			got := r.Nodes[0].Pods[0]
			if !slices.Equal(got.IPs, want.IPs) {
				t.Errorf("addresses %v, want %v", got.IPs, want.IPs)
			}
			got.IPs, want.IPs = nil, nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if n := r.Nodes[0]; n.Whole || n.Object != nil {
				t.Errorf("node %v was not asked for", n)
			}
		})
	}
}

func TestNodeObject(t *testing.T) {
	for _, request := range []Request{{Args: []string{"node/n1"}}, {NodeSelectors: "pool=a"}} {
		r, err := selection(t, request).Resolve(context.Background(), fake.NewClientset(world()...))
		if err != nil {
			t.Fatal(err)
		}
		n := r.Nodes[0]
		if !n.Whole || n.Object == nil || n.Object.Name != "n1" || n.Object.Status.NodeInfo.OperatingSystem != "linux" {
			t.Fatalf("%v: got %v", request, n)
		}
		if n.Object.Status.Images != nil {
			t.Errorf("%v: images are kept", request)
		}
	}
}

func TestPodBeingDeletedThatHasStopped(t *testing.T) {
	pod := with(newPod("shop", "x", "n1"), func(p *corev1.Pod) { deleting(p); p.Status.ContainerStatuses = nil })
	_, err := selection(t, Request{Namespace: "shop", Args: []string{"pod/x"}}).Resolve(context.Background(), fake.NewClientset(pod))
	if err == nil || err.Error() != "pod shop/x is being deleted" {
		t.Errorf("got %v", err)
	}
}
