//go:build !unit

package pcapfilter_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

// hostNames are the names of hosts that test expressions have.
var hostNames = map[string]string{
	"foo": "10.1.2.3", "bar": "10.1.2.4", "vs": "10.1.2.5", "ace": "10.1.2.6", "hot": "10.1.2.7", "helios": "10.1.2.8", "sundown": "10.1.2.9",
}

var hostWords = regexp.MustCompile(`(host|src|dst|and|or|not|\()( *)\b(foo|bar|vs|ace|hot|helios|sundown)\b`)

func resolver(name string) ([]netip.Addr, error) {
	if address, ok := hostNames[name]; ok {
		return []netip.Addr{netip.MustParseAddr(address)}, nil
	}
	return nil, errors.New("no such host")
}

// testOptions are like those of tcpdump -d: it passes a netmask of 0.
var testOptions = pcapfilter.Options{Resolver: resolver, Netmask: netip.AddrFrom4([4]byte{})}

// verdict is what tcpdump makes of an expression.
type verdict struct {
	err         string
	optimized   pcapfilter.Program
	unoptimized pcapfilter.Program // nil: only its optimizer accepts it
}

func (v verdict) rejectsAll() bool { return strings.Contains(v.err, "rejects all packets") }

// links are the link types and their names in libpcap.
var links = map[pcapfilter.LinkType]string{pcapfilter.Ethernet: "EN10MB", pcapfilter.Raw: "RAW"}

// askTcpdump compiles expressions with tcpdump, in order, some at a time.
func askTcpdump(t *testing.T, link pcapfilter.LinkType, exprs []string) []verdict {
	t.Helper()
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Fatal("needs tcpdump: run make deps")
	}
	verdicts := make([]verdict, len(exprs))
	errs := make([]error, len(exprs))
	var wait sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, expr := range exprs {
		wait.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wait.Done() }()
			verdicts[i], errs[i] = askOnce(link, expr)
		}()
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return verdicts
}

func askOnce(link pcapfilter.LinkType, expr string) (verdict, error) {
	// libpcap looks names up in the system; the test has its own.
	for hostWords.MatchString(expr) {
		expr = hostWords.ReplaceAllStringFunc(expr, func(s string) string {
			m := hostWords.FindStringSubmatch(s)
			return m[1] + m[2] + hostNames[m[3]]
		})
	}
	v := verdict{}
	var err error
	if v.optimized, v.err, err = compileWithTcpdump(link, expr); err != nil || v.err != "" {
		return v, err
	}
	v.unoptimized, _, err = compileWithTcpdump(link, expr, "-O")
	return v, err
}

func compileWithTcpdump(link pcapfilter.LinkType, expr string, flags ...string) (p pcapfilter.Program, refusal string, err error) {
	tcpdump := exec.Command("tcpdump", append(flags, "-y", links[link], "-ddd", "--", expr)...)
	var stdout, stderr bytes.Buffer
	tcpdump.Stdout, tcpdump.Stderr = &stdout, &stderr
	if err := tcpdump.Run(); err != nil {
		if text := strings.TrimSpace(stderr.String()); strings.HasPrefix(text, "tcpdump: ") {
			return nil, text, nil
		}
		return nil, "", fmt.Errorf("tcpdump of %q: %w: %s", expr, err, stderr.String())
	}
	p, err = pcapfilter.ParseDecimal(stdout.String())
	return p, "", err
}
