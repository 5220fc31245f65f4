package pcapfilter_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

func mustParse(t *testing.T, expr string) *pcapfilter.Filter {
	t.Helper()
	f, err := pcapfilter.Parse(expr)
	if err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	return f
}

func mustCompile(t *testing.T, expr string, link pcapfilter.LinkType) pcapfilter.Program {
	t.Helper()
	p, err := mustParse(t, expr).Compile(link, fuzzOptions())
	if err != nil {
		t.Fatalf("%q: %v", expr, err)
	}
	return p
}

func TestString(t *testing.T) {
	tests := map[string]string{
		"":                               "",
		"tcp port 80 or 443":             "tcp port 80 or tcp port 443",
		"tcp and port http or 0x50":      "(tcp and port http) or port 80",
		"host a and b or c":              "(host a and host b) or host c",
		"not host vs and ace":            "not host vs and host ace",
		"!(host vs or ace)":              "not (host vs or host ace)",
		"port (80 or 443) && udp":        "(port 80 or port 443) and udp",
		"src 10.1 || dst or src net 10":  "src host 10.1 or src or dst net 10",
		"ether proto \\ip":               `ether proto \ip`,
		"ip proto TCP":                   "ip proto TCP",
		"link[0] & 1 != 0":               "ether[0] & 1 != 0",
		"tcp[tcpflags]&tcp-syn==0":       "tcp[13] & 2 = 0",
		"ip[2:2]-((ip[0]&0xf)<<2)>0":     "ip[2 : 2] - ((ip[0] & 15) << 2) > 0",
		"-len < 5":                       "-len < 5",
		"vlan (5) and llc RNR":           "vlan 5 and llc rnr",
		"length >= 5 and multicast":      "len >= 5 and multicast",
		"net 10.1.0.0 mask 255.255.0.0":  "net 10.1.0.0 mask 255.255.0.0",
		"ip6 net 2001:db8::/32":          "ip6 net 2001:db8::/32",
		"ether src 2:42:ac:11:0:2":       "ether src host 2:42:ac:11:0:2",
		"pod web-0 or default/web-1":     "pod web-0 or pod default/web-1",
		"src ns a and not svc b/c":       "src ns a and not svc b/c",
		`pod \tcp or x/\udp or \ip/y`:    `pod \tcp or pod x/\udp or pod \ip/y`,
		"dst node aks-1.example or 10.1": "dst node aks-1.example or dst node 10.1",
	}
	for expr, want := range tests {
		f, err := pcapfilter.Parse(expr)
		if err != nil {
			t.Errorf("%q: %v", expr, err)
			continue
		}
		if diff := cmp.Diff(want, f.String()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", expr, diff)
		}
	}
}

// The normal form of every filter of the corpus is a filter with the same
// program.
func TestNormalFormOfCorpus(t *testing.T) {
	content, err := os.ReadFile("testdata/corpus.txt")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for expr := range strings.SplitSeq(string(content), "\n") {
		f, err := pcapfilter.Parse(expr)
		if err != nil || strings.HasPrefix(expr, "#") {
			continue
		}
		again := mustParse(t, f.String())
		for _, link := range []pcapfilter.LinkType{pcapfilter.Ethernet, pcapfilter.Raw} {
			p, err1 := f.Compile(link, fuzzOptions())
			q, err2 := again.Compile(link, fuzzOptions())
			if (err1 == nil) != (err2 == nil) || p.Decimal() != q.Decimal() {
				t.Errorf("%q on %s: its normal form %q compiles otherwise", expr, link, f)
			}
		}
		checked++
	}
	if checked < 700 {
		t.Errorf("only %d filters", checked)
	}
}

func TestCombine(t *testing.T) {
	web, dns, empty := mustParse(t, "tcp port 80 or 443"), mustParse(t, "udp port 53"), mustParse(t, "")
	tests := []struct {
		name string
		got  *pcapfilter.Filter
		want string
	}{
		{"and", pcapfilter.And(web, empty, pcapfilter.Not(dns)), "(tcp port 80 or tcp port 443) and not udp port 53"},
		{"or", pcapfilter.Or(web, dns), "tcp port 80 or tcp port 443 or udp port 53"},
		{"or with everything", pcapfilter.Or(web, empty), ""},
		{"and of nothing", pcapfilter.And(), ""},
		{"and of nil", pcapfilter.And(nil, dns), "udp port 53"},
		{"not both", pcapfilter.Not(pcapfilter.And(web, dns)), "not ((tcp port 80 or tcp port 443) and udp port 53)"},
	}
	for _, test := range tests {
		if got := test.got.String(); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	if _, err := pcapfilter.Not(empty).Compile(pcapfilter.Raw, pcapfilter.Options{}); err == nil {
		t.Error("not everything compiles")
	}
	// An error in one of several names that one's expression.
	_, err := pcapfilter.And(web, mustParse(t, "vlan 5")).Compile(pcapfilter.Raw, pcapfilter.Options{})
	var e *pcapfilter.Error
	if !errors.As(err, &e) || e.Expr != "vlan 5" {
		t.Errorf("error %v", err)
	}
	_, err = pcapfilter.And(dns, web).Compile(pcapfilter.Raw, pcapfilter.Options{})
	if err == nil || !strings.Contains(err.Error(), "no packet can pass") {
		t.Errorf("udp and tcp: error %v", err)
	}
}

func TestObjects(t *testing.T) {
	f := mustParse(t, "src pod web-0 or default/web-1 and not ns kube-system and svc dns or pod web-0 and node n1")
	want := []pcapfilter.ObjectRef{
		{Kind: pcapfilter.Pod, Name: "web-0"}, {Kind: pcapfilter.Pod, Namespace: "default", Name: "web-1"},
		{Kind: pcapfilter.Namespace, Name: "kube-system"}, {Kind: pcapfilter.Service, Name: "dns"}, {Kind: pcapfilter.Node, Name: "n1"},
	}
	if diff := cmp.Diff(want, f.Objects()); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	options := pcapfilter.Options{Objects: func(ref pcapfilter.ObjectRef) ([]netip.Addr, error) {
		switch ref {
		case pcapfilter.ObjectRef{Kind: pcapfilter.Pod, Namespace: "a", Name: "two"}:
			return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}, nil
		case pcapfilter.ObjectRef{Kind: pcapfilter.Pod, Name: "none"}:
			return nil, nil
		}
		return nil, errors.New("not found")
	}}
	compile := func(expr string) (pcapfilter.Program, error) {
		return mustParse(t, expr).Compile(pcapfilter.Ethernet, options)
	}
	two, err := compile("dst pod a/two or none")
	if err != nil {
		t.Fatal(err)
	}
	same := mustCompile(t, "dst host 10.0.0.1 or 2001:db8::1", pcapfilter.Ethernet)
	if diff := cmp.Diff(same.String(), two.String()); diff != "" {
		t.Errorf("dst pod a/two (-want +got):\n%s", diff)
	}
	if _, err := compile("pod none"); err == nil {
		t.Error("a filter for a pod without addresses accepts something")
	}
	if _, err := compile("tcp and svc x"); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("error %v", err)
	}
	if _, err := mustParse(t, "pod x").Compile(pcapfilter.Raw, pcapfilter.Options{}); err == nil || hint.Of(err) == "" {
		t.Errorf("error %v, hint %q", err, hint.Of(err))
	}
}

// Jumps reach 255 instructions; a long list needs more.
func TestManyHosts(t *testing.T) {
	c := craft{rand.New(rand.NewPCG(1, 1))}
	var expr strings.Builder
	expr.WriteString("tcp and (host 10.9.0.0")
	hosts := map[uint32]bool{}
	for i := range 600 {
		fmt.Fprintf(&expr, " or 10.9.%d.%d", i/250, i%250)
		hosts[uint32(10<<24|9<<16|(i/250)<<8|i%250)] = true
	}
	expr.WriteString(") and not port 22")
	p := mustCompile(t, expr.String(), pcapfilter.Raw)
	accepted := 0
	for range 5000 {
		packet := c.ipv4(6, false)
		copy(packet[12:], []byte{10, 9, byte(c.IntN(3)), byte(c.IntN(256))})
		copy(packet[16:], []byte{10, 8, 0, 0})
		header := int(packet[0]&0xf) * 4
		ssh := packet[header] == 0 && packet[header+1] == 22 || packet[header+2] == 0 && packet[header+3] == 22
		want := hosts[uint32(packet[12])<<24|uint32(packet[13])<<16|uint32(packet[14])<<8|uint32(packet[15])] && !ssh
		if got := p.Match(packet, len(packet)); got != want {
			t.Fatalf("match is %t, want %t: %x", got, want, packet)
		}
		if want {
			accepted++
		}
	}
	if accepted < 1000 || accepted > 4900 {
		t.Errorf("%d of 5000 packets are accepted", accepted)
	}
}

func TestSnapLen(t *testing.T) {
	p, err := mustParse(t, "ip").Compile(pcapfilter.Raw, pcapfilter.Options{SnapLen: 96})
	if err != nil {
		t.Fatal(err)
	}
	if n := p.Run([]byte{0x45}, 1); n != 96 {
		t.Errorf("an accepted packet returns %d, want 96", n)
	}
}

func TestListings(t *testing.T) {
	p := mustCompile(t, "tcp port 80", pcapfilter.Raw)
	again, err := pcapfilter.ParseDecimal(p.Decimal())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, again); diff != "" {
		t.Errorf("decimal listing (-want +got):\n%s", diff)
	}
	if want := "{ 0x30, 0, 0, 0x00000000 },\n"; !strings.HasPrefix(p.C(), want) {
		t.Errorf("listing in C begins with %.40q, want %q", p.C(), want)
	}
	for _, wrong := range []string{"", "2\n1 2 3 4\n", "1\nx\n"} {
		if _, err := pcapfilter.ParseDecimal(wrong); err == nil {
			t.Errorf("%q is a program", wrong)
		}
	}
}
