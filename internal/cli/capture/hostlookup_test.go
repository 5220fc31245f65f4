package capture

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
)

func TestHostsAreLookedUpOnce(t *testing.T) {
	asked := 0
	look := lookupWith(func(name string) ([]netip.Addr, error) {
		if asked++; name == "absent" {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1")}, nil
	})
	for range 2 {
		if addrs, err := look("web"); err != nil || fmt.Sprint(addrs) != "[10.0.0.1]" {
			t.Errorf("%v, %v", addrs, err)
		}
		if _, err := look("absent"); err == nil {
			t.Error("a host that does not exist has addresses")
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times for 2 names", asked)
	}
	// A filter for both kinds of links takes one answer.
	o := options(t, "pod/x", "--filter", "host web or host db")
	asked, o.lookup = 0, look
	if _, err := o.complete(); err != nil || asked != 1 {
		t.Errorf("asked %d times for db: %v", asked, err)
	}
}

// Ctrl-C ends waiting for the resolver.
func TestLookupIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := options(t, "pod/x", "--filter", "host web.example")
	if err := o.create(ctx); exit.Code(err) != exit.Interrupted {
		t.Errorf("code %d, %v", exit.Code(err), err)
	}
}
