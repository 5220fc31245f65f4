package follow

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// largePod is pod i of many: ten of each Deployment, IPv4 and IPv6.
func largePod(i int) *corev1.Pod {
	hash := fmt.Sprintf("%09x", i/10)
	ip4, ip6 := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), fmt.Sprintf("fd00:%x::%x", i>>16+1, i&0xffff)
	pod := newPod(fmt.Sprintf("ns-%03d", i/100), fmt.Sprintf("web-%s-%05d", hash, i), ip4,
		"app=web", "app.kubernetes.io/instance=web-"+hash, "ReplicaSet/web-"+hash, "pod-template-hash="+hash)
	pod.UID = uidOf(fmt.Sprintf("01234567-89ab-cdef-0123-%012d", i))
	pod.Spec.NodeName = fmt.Sprintf("node-%04d", i%5000)
	pod.Status.PodIPs = []corev1.PodIP{{IP: ip4}, {IP: ip6}}
	pod.Status.HostIPs = []corev1.HostIP{{IP: fmt.Sprintf("192.168.%d.%d", i%5000>>8, i%5000&255)}}
	return pod
}

// 100,000 pods are to stay far under 200 MB; a tenth of them tells.
func TestBookMemory(t *testing.T) {
	const many, most = 10_000, 10 << 20
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	b := newBook(time.Now)
	for i := range many {
		b.setPod(newPodRecord(largePod(i)))
	}
	used := heap() - before
	t.Logf("%d pods take %d MiB", len(b.pods), used>>20)
	if len(b.pods) != many || len(b.holders) != 2*many || used > most {
		t.Errorf("%d pods, %d addresses, %d bytes", len(b.pods), len(b.holders), used)
	}
	if got, want := partyText(b.party(netip.MustParseAddr("10.0.39.15"))), "pod ns-099/web-0000003e7-09999 on node-4999 of Deployment/web [10.0.39.15]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkParty(b *testing.B) {
	book := newBook(time.Now)
	for i := range 1000 {
		book.setPod(newPodRecord(largePod(i)))
	}
	addr := netip.MustParseAddr("10.0.0.5")
	for b.Loop() {
		book.party(addr)
	}
}
