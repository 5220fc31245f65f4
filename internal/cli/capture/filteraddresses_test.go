package capture

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/target/follow"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestAddressChanges(t *testing.T) {
	a, b, c := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::1")
	for _, tt := range []struct {
		before, after map[netip.Addr]uint32
		want          string
	}{
		{nil, nil, "[]"},
		{nil, map[netip.Addr]uint32{a: 1, c: 3}, "[{10.0.0.1 1} {fd00::1 3}]"},
		{map[netip.Addr]uint32{a: 1, b: 2}, map[netip.Addr]uint32{a: 1, b: 6}, "[{10.0.0.2 6}]"},
		{map[netip.Addr]uint32{a: 1, b: 2}, map[netip.Addr]uint32{b: 2, c: 1}, "[{10.0.0.1 0} {fd00::1 1}]"},
		{map[netip.Addr]uint32{a: 1}, map[netip.Addr]uint32{a: 1}, "[]"},
		{map[netip.Addr]uint32{b: 1, c: 1}, map[netip.Addr]uint32{a: 1}, "[{10.0.0.2 0} {fd00::1 0} {10.0.0.1 1}]"},
	} {
		if got := fmt.Sprint(changesOf(tt.before, tt.after)); got != tt.want {
			t.Errorf("from %v to %v: %s, want %s", tt.before, tt.after, got, tt.want)
		}
	}
}

func TestAddressWarnings(t *testing.T) {
	objects := []follow.Object{{Kind: "pod", Namespace: "shop", Name: "web-1"}, {Kind: "service", Namespace: "shop", Name: "x"}, {Kind: "pod", Namespace: "ops", Name: "agent"}, {Kind: "node", Name: "n1"}}
	now := map[netip.Addr]uint32{netip.MustParseAddr("10.0.0.1"): 1, netip.MustParseAddr("192.0.2.1"): 4 | 8}
	want := "service shop/x has no address yet: nothing matches it\npod ops/agent has its node's address: everybody's packets there match it"
	if got := strings.Join(addressWarnings(objects, now, 4), "\n"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// More addresses than a filter can know would end the collector.
func TestMoreAddressesThanAFilterKnows(t *testing.T) {
	known := map[netip.Addr]uint32{netip.MustParseAddr("fd00::1"): 1}
	now := map[netip.Addr]uint32{}
	addr := netip.MustParseAddr("10.0.0.0")
	for range wire.MaxFilterAddresses {
		now[addr] = 1
		addr = addr.Next()
	}
	if changes, ok := addressNews(known, now); !ok || len(changes) != len(now)+1 || changes[0].Objects != 0 {
		t.Errorf("as many as it can know: %d changes, %t", len(changes), ok)
	}
	now[addr] = 1
	if changes, ok := addressNews(known, now); ok || len(changes) > 0 {
		t.Errorf("one more: %d changes, %t", len(changes), ok)
	}
}
