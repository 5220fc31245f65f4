//go:build linux

package ebpf_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf/asm"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
	filterebpf "github.com/kubectl-retina/kubectl-retina/internal/pcapfilter/ebpf"
)

// sized are filters of all kinds, some of them long.
func sized(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile("../testdata/corpus.txt")
	if err != nil {
		t.Fatal(err)
	}
	var nets, ports []string
	for i := range 100 {
		nets = append(nets, fmt.Sprintf("net 10.%d.0.0/16 or host fd00::%x", i, i))
		ports = append(ports, fmt.Sprintf("port %d", 1000+2*i))
	}
	return append(strings.Split(string(content), "\n"),
		strings.Join(nets, " or "), strings.Join(ports, " or "), "pod a and not (src svc b or dst ns c)",
		"ip[ip[12:4]] = 5", "ether[ether[0:4]:2] = 5", "ether[11:4] = 1", "ether[ether[0]:4] = 1", "tcp[0 - ip[0] + 69] = 0",
		"ip[0] / (ip[1] & 1) = 69", "ip[0] % ip[1] = 0", "-ip[0] > 0xf0000000", "len - ip[2:2] = 14", "ether[70000:2] = 1", "ether[40000:4] = 0xffffffff")
}

// TestKernelSize: the command relies on the bound to refuse what the node would.
func TestKernelSize(t *testing.T) {
	programs, tightest := 0, 0.0
	for _, expr := range sized(t) {
		filter, err := pcapfilter.Parse(expr)
		if err != nil || strings.HasPrefix(expr, "#") {
			continue
		}
		for _, link := range []pcapfilter.LinkType{pcapfilter.Ethernet, pcapfilter.Raw} {
			p, err := filter.Compile(link, pcapfilter.Options{
				Netmask: netip.MustParseAddr("255.255.0.0"), LiveObjects: true,
				Resolver: func(string) ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("10.1.2.3")}, nil },
			})
			if err != nil {
				continue
			}
			bound, size := p.KernelSize(link), 0
			for _, direct := range []bool{false, true} {
				code, err := filterebpf.Inline(p, filterebpf.Hook{Direct: direct, Link: link})
				if err != nil {
					t.Fatalf("%q: %v", expr, err)
				}
				size = max(size, width(code))
			}
			programs++
			tightest = max(tightest, float64(size)/float64(bound))
			if size > bound {
				t.Errorf("%.80q for %s has %d instructions, and at most %d were expected\n%s", expr, link, size, bound, p)
			}
			if len(p) > 300 && 4*bound > 5*size {
				t.Errorf("%.80q for %s has %d instructions, and %d were expected, which is too careful", expr, link, size, bound)
			}
		}
	}
	t.Logf("%d programs, the longest is %.2f of its bound", programs, tightest)
	if programs < 800 {
		t.Errorf("%d programs", programs)
	}
}

func width(code asm.Instructions) int {
	n := 0
	for _, in := range code {
		n += int(in.Width())
	}
	return n
}
