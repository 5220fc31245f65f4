package pcapfilter_test

import (
	"net/netip"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

// fuzzOptions know every name.
func fuzzOptions() pcapfilter.Options {
	addresses := []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("2001:db8::1")}
	return pcapfilter.Options{
		Resolver: func(string) ([]netip.Addr, error) { return addresses, nil },
		Objects:  func(pcapfilter.ObjectRef) ([]netip.Addr, error) { return addresses, nil },
		Netmask:  netip.MustParseAddr("255.255.255.0"),
	}
}
