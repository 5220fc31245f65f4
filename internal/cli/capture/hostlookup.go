package capture

import (
	"context"
	"net"
	"net/netip"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

// lookup finds the addresses of a host.
type lookup = pcapfilter.Resolver

// newLookup asks this machine's resolver until ctx ends, once for each name: programs
// for several kinds of links know the same addresses. It is for one goroutine.
func newLookup(ctx context.Context) lookup {
	return lookupWith(func(name string) ([]netip.Addr, error) { return net.DefaultResolver.LookupNetIP(ctx, "ip", name) })
}

func lookupWith(ask lookup) lookup {
	type answer struct {
		addrs []netip.Addr
		err   error
	}
	known := map[string]answer{}
	return func(name string) ([]netip.Addr, error) {
		a, ok := known[name]
		if !ok {
			addrs, err := ask(name)
			a.err = err
			for _, addr := range addrs {
				a.addrs = append(a.addrs, addr.Unmap())
			}
			known[name] = a
		}
		return a.addrs, a.err
	}
}

// hosts is the lookup of a run.
func (o *createOptions) hosts(ctx context.Context) lookup {
	if o.lookup == nil {
		o.lookup = newLookup(ctx)
	}
	return o.lookup
}
