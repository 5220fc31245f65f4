//go:build linux

package linuxutil

import (
	"maps"
	"slices"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestTable(t *testing.T) {
	n := newTable()
	read := func(counter uint64, wrapping uint32, gauge uint64) {
		n.rewind()
		n.count("tcp", "", "", []byte("RetransSegs"), counter)
		n.count32("conntrack", []byte("drop"), wrapping)
		n.set("tcp", "", []byte("CurrEstab"), gauge)
		n.count("interface", "eth0", "", []byte("rx_errors"), 0)
	}
	sample := func() []wire.StatSample { return n.sample(3, nil) }
	check := func(what string, want ...wire.StatSample) {
		t.Helper()
		if got := sample(); !slices.Equal(got, want) {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	retrans := func(v uint64) wire.StatSample {
		return wire.StatSample{Target: 3, Group: "tcp", Name: "RetransSegs", Value: v}
	}
	drop := func(v uint64) wire.StatSample {
		return wire.StatSample{Target: 3, Group: "conntrack", Name: "drop", Value: v}
	}
	estab := func(v uint64) wire.StatSample {
		return wire.StatSample{Target: 3, Group: "tcp", Name: "CurrEstab", Value: v, Gauge: true}
	}
	read(100, 0xfffffff0, 0)
	n.baseline()
	check("baseline")
	read(107, 0xfffffff0, 2)
	check("both kinds", retrans(7), estab(2))
	read(107, 0x10, 2)
	check("32 bits wrap around", drop(0x20))
	read(3, 0x10, 0)
	check("a counter that begins again, a gauge back to 0", retrans(10), estab(0))
	n.rewind()
	n.set("tcp", "", []byte("CurrEstab"), 1) // another order
	n.count("tcp", "", "Icmp", []byte("InType3"), 4)
	n.count("tcp", "", "", []byte("RetransSegs"), 4)
	check("another order, and one more", retrans(11), estab(1), wire.StatSample{Target: 3, Group: "tcp", Name: "IcmpInType3", Value: 4})
}

func TestWantedDriverCounters(t *testing.T) {
	var names []byte
	for _, name := range []string{"rx_packets", "rx_errors", "rx_queue_0_drops", "tx_timeout_count", "", "rx_Missed\xff", "no_buffer_discards"} {
		field := make([]byte, ethtoolNameLen)
		copy(field, name)
		names = append(names, field...)
	}
	want := map[int]string{2: "rx_queue_0_drops", 3: "tx_timeout_count", 5: "rx_Missed?", 6: "no_buffer_discards"}
	if got := wanted(names); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
