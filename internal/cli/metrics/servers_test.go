package metrics

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// A control plane moves while a command runs: a collector that starts later is told
// of the new addresses.
func TestServerListIsReadAgain(t *testing.T) {
	var (
		now   = time.Unix(1_000_000, 0)
		found []netip.AddrPort
		fails error
		reads int
	)
	list := &serverList{now: func() time.Time { return now }, read: func(ctx context.Context) ([]netip.AddrPort, error) {
		reads++
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("a reading is not bounded")
		}
		return found, fails
	}}
	first, second := netip.MustParseAddrPort("10.0.0.1:6443"), netip.MustParseAddrPort("10.0.0.2:6443")
	want := func(reading int, wrong bool, addresses ...netip.AddrPort) {
		t.Helper()
		got, err := list.current(t.Context())
		if !slices.Equal(got, addresses) || (err != nil) != wrong || reads != reading {
			t.Errorf("%v after %d readings, error %v; want %v after %d", got, reads, err, addresses, reading)
		}
	}
	found, fails = []netip.AddrPort{first}, errors.New("no right to list them all")
	want(1, true, first)
	now = now.Add(serversAge - 1)
	want(1, false, first) // those that start together share one
	now = now.Add(1)
	found, fails = []netip.AddrPort{first, second}, nil
	want(2, false, first, second)
	now = now.Add(serversAge)
	found, fails = []netip.AddrPort{first}, errors.New("no answer")
	want(3, true, first, second) // better than less
	now = now.Add(serversAge)
	found, fails = []netip.AddrPort{second}, nil
	want(4, false, second)
}
