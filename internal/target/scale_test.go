package target

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

const (
	manyPods  = 100_000
	manyNodes = 5_000
	serveEnv  = "TARGET_TEST_SERVE" // makes the test binary a large cluster
)

func TestMain(m *testing.M) {
	if os.Getenv(serveEnv) == "" {
		os.Exit(m.Run())
	}
	server := httptest.NewServer(&listServer{pods: manyPods, nodes: manyNodes, pod: largePod, node: largeNode})
	fmt.Println(server.URL)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark has ended
}

// largePod is about as large as a real one: 7 kB of JSON.
func largePod(i int) corev1.Pod {
	hash := fmt.Sprintf("%09x", i/10)
	name := fmt.Sprintf("web-%s-%05d", hash, i)
	pod := newPod(fmt.Sprintf("ns-%03d", i/100), name, fmt.Sprintf("node-%04d", i%manyNodes),
		"app=web", "ReplicaSet/web-"+hash, "pod-template-hash="+hash)
	pod.UID = types.UID(fmt.Sprintf("01234567-89ab-cdef-0123-%012d", i))
	pod.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", FieldsV1: metav1.NewFieldsV1(`{"f:x":"` + strings.Repeat("f", 3000) + `"}`)}}
	for j := range 30 {
		pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", j), Value: strings.Repeat("v", 30)})
	}
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "proxy", Image: strings.Repeat("registry/", 12)})
	ip := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
	pod.Status.PodIP, pod.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}, {IP: fmt.Sprintf("fd00:%x::%x", i>>16+1, i&0xffff)}}
	for range 5 {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, Message: "it has been so for some time"})
	}
	return *pod
}

// largeNode is about as large as a real one: the most of it are its images.
func largeNode(i int) corev1.Node {
	node := newNode(fmt.Sprintf("node-%04d", i), "linux")
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("192.168.%d.%d", i>>8, i&255)}}
	node.Status.Images = nil
	for j := range 50 {
		image := fmt.Sprintf("registry.example.com/image-%d", j)
		node.Status.Images = append(node.Status.Images, corev1.ContainerImage{Names: []string{image + "@sha256:" + strings.Repeat("a", 64), image + ":v1"}})
	}
	return *node
}

// serveLargeCluster starts the large cluster as a process of its own, so that
// its memory is not ours, and returns its URL.
func serveLargeCluster(b *testing.B) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveEnv+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(url)
}

// peakMemory calls do and returns the most memory that the Go runtime held
// meanwhile, in bytes.
func peakMemory(do func()) uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	var peak uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	debug.FreeOSMemory()
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			metrics.Read(samples)
			peak = max(peak, samples[0].Value.Uint64()-samples[1].Value.Uint64())
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	do()
	close(stop)
	<-stopped
	return peak
}

// BenchmarkLargeCluster selects from 5,000 nodes and 100,000 pods. The time
// includes the server's, which shares the machine.
func BenchmarkLargeCluster(b *testing.B) {
	url := serveLargeCluster(b)
	benchmarks := []struct {
		name      string
		mediaType string
		request   Request
		names     bool // name the addresses too
	}{
		{"pods/protobuf", protobuf, Request{Selector: "app=web", AllNamespaces: true}, false},
		{"pods/json", "application/json", Request{Selector: "app=web", AllNamespaces: true}, false},
		{"nodes/protobuf", protobuf, Request{NodeSelectors: "kubernetes.io/os=linux"}, false},
		{"podsAndNames/protobuf", protobuf, Request{Selector: "app=web", AllNamespaces: true}, true},
	}
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			s, err := bb.request.Selection()
			if err != nil {
				b.Fatal(err)
			}
			var peak uint64
			for b.Loop() {
				peak = max(peak, peakMemory(func() { resolveLarge(b, s, clientOf(b, url, bb.mediaType), bb.names) }))
			}
			b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
		})
	}
}

func resolveLarge(b *testing.B, s Selection, client kubernetes.Interface, names bool) {
	r, err := s.Resolve(context.Background(), client)
	if err != nil {
		b.Fatal(err)
	}
	if len(r.Nodes) != manyNodes {
		b.Fatalf("%d nodes", len(r.Nodes))
	}
	if !names {
		return
	}
	records, warnings := Names(context.Background(), client, r)
	if len(warnings) > 0 || len(records) != 2*manyPods+manyNodes {
		b.Fatalf("%d names, %v", len(records), warnings)
	}
}
