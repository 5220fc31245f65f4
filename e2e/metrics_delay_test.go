//go:build linux && !unit

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// delayPackets holds back each packet from a pod to another's address for a
// while: a route takes them to a TUN device, and they go on by a raw socket.
func delayPackets(t *testing.T, pod *corev1.Pod, to string, delay time.Duration) {
	t.Helper()
	node, err := the.Node(pod.Spec.NodeName)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := hostns.Open(fmt.Sprintf("/proc/%d/root/proc/%s/ns/net", node.Init.PID, lastingProcess(t, pod)))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	var tun, out int
	err = ns.Do(func() error {
		var err error
		if tun, err = openTUN("slow0"); err != nil {
			return err
		}
		if out, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
			return fmt.Errorf("raw socket: %w", err)
		}
		// Then the route to the TUN device is none for it.
		return unix.BindToDevice(out, "eth0")
	})
	if err != nil {
		t.Fatal(err)
	}
	device := os.NewFile(uintptr(tun), "slow0")
	t.Cleanup(func() { device.Close(); unix.Close(out) })
	inPod(t, pod, "ip", "link", "set", "slow0", "up")
	inPod(t, pod, "ip", "route", "add", to+"/32", "dev", "slow0", "src", pod.Status.PodIP)
	address := &unix.SockaddrInet4{Addr: netip.MustParseAddr(to).As4()}
	go func() {
		for {
			packet := make([]byte, 64<<10)
			n, err := device.Read(packet)
			if errors.Is(err, os.ErrClosed) || n == 0 {
				return
			}
			time.AfterFunc(delay, func() { _ = unix.Sendto(out, packet[:n], 0, address) })
		}
	}()
}

// openTUN makes a TUN device in the calling thread's netns, which lives as long as
// its file. Reading from it gives packets without any header of its own.
func openTUN(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("open TUN: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("make TUN device %s: %w", name, err), unix.Close(fd))
	}
	return fd, nil
}

// TestMetricsDelay holds back what a server sends: handshakes take as long, and so
// do the round trips of both sides.
func TestMetricsDelay(t *testing.T) {
	s := openShop(t, "")
	client, web, near := s.client["n1"], s.web["n2"], s.web["n1"]
	const delay, requests = 80 * time.Millisecond, 10
	delayPackets(t, web, client.Status.PodIP, delay)
	m := startMeasuring(t, 2, "-n", s.namespace)
	then := time.Now()
	s.get(t, client, web, "/slow", requests)
	s.get(t, client, near, "/fast", requests)
	r := m.report(t, then)
	// As slow as we made it, and on average not by much more: a single one may wait long
	// on a busy machine.
	least, most := uint64(delay.Microseconds()), uint64(10*delay.Microseconds())
	slow, fast := flowBetween(t, r, client.Name, web.Name), flowBetween(t, r, client.Name, near.Name)
	for what, times := range map[string]wire.Times{"connect": slow.Connect, "round trip": slow.RTT} {
		if times.Count < requests || times.Sum < least*times.Count || times.Sum > most*times.Count {
			t.Errorf("%s: %+v, want %d or more of %s or more, %d µs on average at most", what, times, requests, delay, most)
		}
	}
	for what, times := range map[string]wire.Times{"connect": fast.Connect, "round trip": fast.RTT} {
		if times.Count < requests || times.Sum >= least*times.Count {
			t.Errorf("%s without delay: %+v, want %d or more of less than %s", what, times, requests, delay)
		}
	}
	if server := flowBetween(t, r, web.Name, client.Name); server.RTT.Count == 0 || server.RTT.Sum < least*server.RTT.Count {
		t.Errorf("the server's round trips: %+v, want %s or more", server.RTT, delay)
	}
	row := rowOf(t, r, client.Name)
	if row.ConnectTimes.Count != 2*requests || sumOf(row.Connect.Buckets) != 2*requests || row.Connect.Sum != slow.Connect.Sum+fast.Connect.Sum {
		t.Errorf("the client's row: %+v, %+v", row.ConnectTimes, row.Connect)
	}
	t.Logf("connect %+v, round trip %+v; without delay %+v, %+v", slow.Connect, slow.RTT, fast.Connect, fast.RTT)
	wantNothingLeft(t)
}

func sumOf(buckets []uint64) (sum uint64) {
	for _, n := range buckets {
		sum += n
	}
	return sum
}

// flowBetween is the only flow of HTTP that local has with remote.
func flowBetween(t *testing.T, r *metrics.Report, local, remote string) metrics.Flow {
	t.Helper()
	for _, f := range r.Flows {
		if f.Local.Name == local && f.Remote.Name == remote && f.Port == 8080 {
			return f
		}
	}
	t.Fatalf("no flow from %s to %s:\n%s", local, remote, describeFlows(r))
	return metrics.Flow{}
}
