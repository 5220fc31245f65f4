//go:build linux && !unit

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// received is how many frames the kernel says the pair has received, both ends.
func received(t *testing.T, p *pod) (sum uint64) {
	t.Helper()
	for _, process := range p.processes {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", process.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(text), "eth0:")
		var bytes, packets uint64
		if _, err := fmt.Sscan(after, &bytes, &packets); err != nil {
			t.Fatal(err)
		}
		sum += packets
	}
	return sum
}

// What the pair says it has sent is on the wire.
func TestPair(t *testing.T) {
	netns, err := newPod(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := netns.close(); err != nil {
			t.Error(err)
		}
	}()
	p, err := newPair(netns.processes[0].netns, netns.processes[1].netns, netip.MustParseAddr("192.0.2.2"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}()
	const d = 50 * time.Millisecond
	rate, err := p.stream(d)
	if err != nil || rate < 1e6 {
		t.Errorf("stream: %v bytes a second, %v", rate, err)
	}
	before := received(t, netns)
	tripRate, micros, err := p.trips(d)
	if err != nil || tripRate == 0 || micros.median() <= 0 {
		t.Errorf("round trips: %v a second, median %v µs, %v", tripRate, micros.median(), err)
	}
	datagramRate, err := p.datagrams(d)
	if err != nil || datagramRate == 0 {
		t.Errorf("datagrams: %v a second, %v", datagramRate, err)
	}
	// A packet counts where it is sent and where it is received.
	if frames := received(t, netns) - before; p.packets == 0 || 2*frames < p.packets {
		t.Errorf("the kernel has seen %d packets, the pair %d", 2*frames, p.packets)
	}
	t.Logf("%.1f Gbit/s, %.0f datagrams/s, %.0f round trips/s", rate*8/1e9, datagramRate, tripRate)
}

func TestMemoryGroupOfProcess(t *testing.T) {
	group, err := memoryGroupOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !exists(group.dir) {
		t.Errorf("%s is not there", group.dir)
	}
}

func TestProgramTimes(t *testing.T) {
	var work asm.Instructions // that takes longer than nothing
	for range 100 {
		work = append(work, asm.FnKtimeGetNs.Call())
	}
	work = append(work, asm.Mov.Imm(asm.R0, 0), asm.Return())
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "bench_test", Type: ebpf.SchedCLS, License: "GPL", Instructions: work,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	const runs = 1000
	spent, err := programTimes(t.Context(), []int{os.Getpid()}, func(context.Context) error {
		_, err := program.Run(&ebpf.RunOptions{Data: make([]byte, 14), Repeat: runs})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(spent, func(p programTime) bool { return p.name == "bench_test" })
	if i < 0 || spent[i].runs != runs || spent[i].took <= 0 || spent[i].took > time.Second {
		t.Errorf("%+v, want %d runs of bench_test", spent, runs)
	}
}
