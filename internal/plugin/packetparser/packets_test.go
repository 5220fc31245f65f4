//go:build linux && !unit

package packetparser

import (
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/hook"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

var hooks = []string{hook.TCX, hook.Socket}

func TestUDPIsCountedExactly(t *testing.T) {
	for _, force := range hooks {
		t.Run(force, func(t *testing.T) {
			pod := vethtest.NewPod(t)
			w := newWorld(t, scope.Options{Hook: force}, pod)
			send(t, vethtest.UDP(t, pod.Netns, "192.0.2.1:40001", "192.0.2.2:4002"), 300, 100)
			send(t, vethtest.UDP(t, pod.Peer, "[2001:db8::2]:40002", "[2001:db8::1]:4004"), 200, 50)
			out := key(1, protocolUDP, "192.0.2.1", "192.0.2.2", 4002, wire.RoleClient)
			in := key(1, protocolUDP, "2001:db8::1", "2001:db8::2", 4004, wire.RoleServer)
			// The first ones wait until the neighbour's address is known.
			w.eventually("packets", func() bool { return w.flows[out].PacketsOut >= 300 && w.flows[in].PacketsIn >= 200 })
			got := w.flows[out]
			if got.PacketsOut != 300 || got.BytesOut != 300*(20+8+100) || got.PacketsIn != 0 || got.FlagsOut != nil {
				t.Errorf("IPv4, out: %+v", got)
			}
			got = w.flows[in]
			if got.PacketsIn != 200 || got.BytesIn != 200*(40+8+50) || got.PacketsOut != 0 {
				t.Errorf("IPv6, in: %+v", got)
			}
		})
	}
}

// TestAgreesWithTheInterface compares the sum of all flows with what the interface
// has counted meanwhile.
func TestAgreesWithTheInterface(t *testing.T) {
	for _, force := range hooks {
		t.Run(force, func(t *testing.T) {
			pod := vethtest.NewPod(t)
			for _, at := range []string{"192.0.2.2:8080", "[2001:db8::2]:8080"} {
				listen(t, pod.Peer, at)
			}
			before, err := dial(pod.Netns, "", "192.0.2.2:8080", patience) // the peer's address gets known
			vethtest.Must(t, err)
			before6, err := dial(pod.Netns, "", "[2001:db8::2]:8080", patience)
			vethtest.Must(t, err)
			defer before.Close()
			defer before6.Close()
			w := newWorld(t, scope.Options{Hook: force}, pod)
			started := statistics(t, pod.Netns)
			for _, to := range []string{"192.0.2.2:8080", "[2001:db8::2]:8080"} {
				conn, err := dial(pod.Netns, "", to, patience)
				vethtest.Must(t, err)
				talk(t, conn, 3<<20)
				vethtest.Must(t, conn.Close())
			}
			w.eventually("FIN of both sides", func() bool {
				fins := uint64(0)
				for _, f := range w.flows {
					if f.Protocol == protocolTCP {
						fins += f.FlagsIn[wire.FlagFIN]
					}
				}
				return fins == 2
			})
			time.Sleep(50 * time.Millisecond) // the last ACK
			w.sample()
			ended := statistics(t, pod.Netns)
			var sum wire.FlowSample
			for _, f := range w.flows {
				sum.PacketsIn += f.PacketsIn
				sum.PacketsOut += f.PacketsOut
				sum.BytesIn += f.BytesIn
				sum.BytesOut += f.BytesOut
			}
			const ethernet = 14
			in, out := ended.RxPackets-started.RxPackets, ended.TxPackets-started.TxPackets
			if sum.PacketsIn != in || sum.PacketsOut != out ||
				sum.BytesIn != ended.RxBytes-started.RxBytes-in*ethernet || sum.BytesOut != ended.TxBytes-started.TxBytes-out*ethernet {
				t.Errorf("flows: %+v\ninterface: in %d, out %d, bytes %d and %d", sum, in, out,
					ended.RxBytes-started.RxBytes, ended.TxBytes-started.TxBytes)
			}
			for _, remote := range []string{"192.0.2.2", "2001:db8::2"} {
				local := map[string]string{"192.0.2.2": "192.0.2.1", "2001:db8::2": "2001:db8::1"}[remote]
				f := w.tcp(local, remote)
				if f.Port != 8080 || f.Role != wire.RoleClient || f.Opened != 1 || f.RTT.Count == 0 || f.RTT.Max == 0 {
					t.Errorf("flow to %s: %+v", remote, f)
				}
				if f.BytesOut < 3<<20 || f.BytesIn < 3<<20 {
					t.Errorf("bytes to %s: %+v", remote, f)
				}
			}
		})
	}
}

// A packet may be many segments, of which the kernel's TCP has its own count.
func TestSegmentsAreThoseOfTheKernel(t *testing.T) {
	for _, force := range hooks {
		t.Run(force, func(t *testing.T) {
			pod := vethtest.NewPod(t)
			w := newWorld(t, scope.Options{Hook: force}, pod)
			listen(t, pod.Peer, "192.0.2.2:8080")
			before := segmentsOut(t, pod.Netns)
			conn, err := dial(pod.Netns, "", "192.0.2.2:8080", patience)
			vethtest.Must(t, err)
			talk(t, conn, 3<<20)
			vethtest.Must(t, conn.Close())
			var packets, segments uint64
			w.eventually("agreement", func() bool {
				packets, segments = 0, 0
				for k, f := range w.raw() {
					if k.Protocol == protocolTCP {
						packets += f.Out.Packets
						segments += f.Out.Packets + f.Out.MoreSegments
					}
				}
				return segments == segmentsOut(t, pod.Netns)-before
			})
			if segments < (3<<20)/1460 || packets >= segments {
				t.Errorf("%d packets, %d segments", packets, segments)
			}
		})
	}
}

func TestOthersAreNotSeen(t *testing.T) {
	a, b, stranger := vethtest.NewPod(t), vethtest.NewPod(t), vethtest.NewPod(t)
	w := newWorld(t, scope.Options{}, a, b)
	for i, pod := range []*vethtest.Pod{a, b, stranger} {
		send(t, vethtest.UDP(t, pod.Netns, "192.0.2.1:40001", "192.0.2.2:4002"), 10*(i+1), 10)
	}
	listen(t, stranger.Peer, "192.0.2.2:8080")
	conn, err := dial(stranger.Netns, "", "192.0.2.2:8080", patience)
	vethtest.Must(t, err)
	defer conn.Close()
	talk(t, conn, 1<<16)
	w.sample()
	var packets []uint64
	for _, target := range []uint32{1, 2} {
		packets = append(packets, w.flows[key(target, protocolUDP, "192.0.2.1", "192.0.2.2", 4002, wire.RoleClient)].PacketsOut)
	}
	if packets[0] != 10 || packets[1] != 20 {
		t.Errorf("packets of a and b: %v", packets)
	}
	for k := range w.flows {
		if k.Protocol == protocolTCP || k.Target != 1 && k.Target != 2 {
			t.Errorf("flow %+v", k)
		}
	}
	for _, l := range w.latency {
		t.Errorf("latency %+v", l)
	}
}

func TestNothingCountsBeforeTheScopeRuns(t *testing.T) {
	pod := vethtest.NewPod(t)
	w := newWorld(t, scope.Options{}, pod)
	conn := vethtest.UDP(t, pod.Netns, "192.0.2.1:40001", "192.0.2.2:4002")
	vethtest.Must(t, w.scope.Run(false))
	send(t, conn, 5, 10)
	vethtest.Must(t, w.scope.Run(true))
	send(t, conn, 3, 10)
	w.sample()
	if got := w.flows[key(1, protocolUDP, "192.0.2.1", "192.0.2.2", 4002, wire.RoleClient)].PacketsOut; got != 3 {
		t.Errorf("%d packets, want 3", got)
	}
}

func TestFullTable(t *testing.T) {
	pod := vethtest.NewPod(t)
	w := newWorld(t, scope.Options{TableEntries: wire.MinTableEntries}, pod)
	const sent = 200
	for port := range sent {
		vethtest.SendRaw(t, pod.Peer, udpFrame(t, pod, uint16(1000+port)))
	}
	w.sample()
	var counted uint64
	for _, f := range w.flows {
		if f.Protocol == protocolUDP && f.Port >= 1000 {
			counted += f.PacketsIn
		}
	}
	lost := w.lost[lostFlows]
	// Other packets, as of the neighbours' discovery, may be among the lost ones.
	if lost < sent-wire.MinTableEntries || counted+lost < sent || counted > wire.MinTableEntries {
		t.Errorf("sent %d, counted %d, lost %d", sent, counted, lost)
	}
	if s := w.sample(); len(s.Lost) != 0 {
		t.Errorf("lost again, although nothing came: %+v", s.Lost)
	}
}

func TestIdleFlowsEndAndComeBack(t *testing.T) {
	pod := vethtest.NewPod(t)
	w := newWorld(t, scope.Options{}, pod)
	conn := vethtest.UDP(t, pod.Netns, "192.0.2.1:40001", "192.0.2.2:4002")
	of := key(1, protocolUDP, "192.0.2.1", "192.0.2.2", 4002, wire.RoleClient)
	send(t, conn, 5, 10)
	w.sample()
	if got := w.flows[of]; got.PacketsOut != 5 || got.Ended {
		t.Fatalf("at first: %+v", got)
	}
	now := time.Now()
	w.plugin.now = func() time.Time { return now.Add(59 * time.Second) }
	if s := w.sample(); len(s.Flows) > 0 && w.flows[of].Ended {
		t.Errorf("ended before its time: %+v", s.Flows)
	}
	w.plugin.now = func() time.Time { return now.Add(61 * time.Second) }
	w.sample()
	if got := w.flows[of]; got.PacketsOut != 5 || !got.Ended {
		t.Errorf("after a minute: %+v", got)
	}
	send(t, conn, 2, 10)
	w.sample()
	if got := w.flows[of]; got.PacketsOut != 2 || got.Ended {
		t.Errorf("again: %+v", got)
	}
	// What comes after the last sample is in the one that ends it.
	w.plugin.now = func() time.Time { return now.Add(130 * time.Second) }
	send(t, conn, 1, 10)
	w.sample()
	if got := w.flows[of]; got.PacketsOut != 3 || got.Ended {
		t.Errorf("a packet at the last moment: %+v", got)
	}
}

func TestUnchangedFlowsAreNotSampledAgain(t *testing.T) {
	pod := vethtest.NewPod(t)
	w := newWorld(t, scope.Options{}, pod)
	send(t, vethtest.UDP(t, pod.Netns, "192.0.2.1:40001", "192.0.2.2:4002"), 5, 10)
	w.sample()
	for _, f := range w.sample().Flows {
		if f.Protocol == protocolUDP {
			t.Errorf("again: %+v", f)
		}
	}
}

func TestDetachedTargetsEnd(t *testing.T) {
	a, b := vethtest.NewPod(t), vethtest.NewPod(t)
	w := newWorld(t, scope.Options{}, a, b)
	of := [2]wire.FlowKey{}
	for i, pod := range []*vethtest.Pod{a, b} {
		of[i] = key(uint32(i+1), protocolUDP, "192.0.2.1", "192.0.2.2", 4002, wire.RoleClient)
		send(t, vethtest.UDP(t, pod.Netns, "192.0.2.1:40001", "192.0.2.2:4002"), 5, 10)
	}
	w.plugin.Detach([]uint32{1})
	vethtest.Must(t, w.scope.Remove([]uint32{1}))
	send(t, vethtest.UDP(t, a.Netns, "192.0.2.1:40003", "192.0.2.2:4002"), 7, 10)
	w.sample()
	if got := w.flows[of[0]]; got.PacketsOut != 5 || !got.Ended {
		t.Errorf("the target that is gone: %+v", got)
	}
	if got := w.flows[of[1]]; got.PacketsOut != 5 || got.Ended {
		t.Errorf("the other one: %+v", got)
	}
	for _, f := range w.sample().Flows {
		if f.Target == 1 {
			t.Errorf("still there: %+v", f)
		}
	}
}
