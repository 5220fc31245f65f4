package capture

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
)

// mixedFile has the datagram of readPacket on interfaces of six link types, the last
// one unknown, a name that comes late, and an ARP packet on the first.
func mixedFile(t *testing.T) string {
	t.Helper()
	datagram := readPacket()[14:]
	arp := append([]byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01\x02\x00\x00\x00\x00\x01\x0a\x00\x00\x01"), make([]byte, 10)...)
	b := pcapng.Section{Application: "kubectl-retina 1"}.Append(nil)
	packets := [][]byte{
		readPacket(), datagram, append([]byte{2, 0, 0, 0}, datagram...), append([]byte("\x00\x00\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00\x08\x00"), datagram...),
		append([]byte("\x08\x00\x00\x00\x00\x00\x00\x01\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00"), datagram...), {1, 2, 3},
	}
	for i, linkType := range []uint16{1, 101, 0, 113, 276, 105} {
		b = pcapng.Interface{Name: "shop/web-1/eth0", Description: "node n1, pod shop/web-1", LinkType: linkType, SnapLen: uint32(100 + i)}.Append(b)
	}
	b = pcapng.AppendNames(b, []pcapng.Name{{Addr: netip.MustParseAddr("10.0.0.1"), Name: "web-1.shop"}, {Addr: netip.MustParseAddr("10.9.9.9"), Name: "n1"}})
	for i, p := range packets {
		b = pcapng.AppendEPB(b, uint32(i), readTime().UnixNano(), uint32(len(p)), uint32(len(p)), pcapng.FlagOutbound, p)
	}
	b = pcapng.AppendNames(b, []pcapng.Name{{Addr: netip.MustParseAddr("10.0.0.2"), Name: "web.shop.svc"}})
	for _, p := range [][]byte{readPacket(), arp} {
		b = pcapng.AppendEPB(b, 0, readTime().UnixNano(), uint32(len(p)), uint32(len(p)), pcapng.FlagInbound, p)
	}
	path := filepath.Join(t.TempDir(), "mixed.pcapng")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFilterCountsPackets(t *testing.T) {
	file := mixedFile(t)
	const unknown = "warning: packets of link type 105, or without a whole link header, cannot be filtered: none of them matches\n"
	for _, test := range []struct{ filter, stdout, stderr string }{
		{"udp src port 7", "6 of 8 packets match\n", unknown},
		{"arp", "1 of 8 packets match\n", unknown + "warning: no packet with a header of raw IP matches: "},
		{"udp dst port 7", "0 of 8 packets match\n", unknown},
		{"ether src 2:0:0:0:0:1", "3 of 8 packets match\n", unknown + "warning: no packet with a header of raw IP matches: "},
		{"pod shop/web-1", "7 of 8 packets match\n", unknown},
		{"src pod web-1 and udp", "6 of 8 packets match\n", unknown},
		{"ns shop and not arp", "6 of 8 packets match\n", unknown},
		{"node n1 or arp", "1 of 8 packets match\n", unknown},
		{"dst svc web", "1 of 8 packets match\n", unknown}, // those after its name has come
		{"less 44 and ip", "2 of 8 packets match\n", unknown},
	} {
		stdout, stderr, err := filter("--packets", file, test.filter)
		if err != nil || stdout != test.stdout {
			t.Errorf("%q: %v, prints %q, want %q", test.filter, err, stdout, test.stdout)
		}
		for want := range strings.Lines(test.stderr) {
			if !strings.Contains(stderr, want) {
				t.Errorf("%q: %q is not in stderr %q", test.filter, want, stderr)
			}
		}
	}
}

func TestFilteredPacketsArePrinted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(path, readFile(false), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, err := filter("--packets", path, "--print", "src pod shop/web-1 and dst svc shop/web")
	if err != nil || stdout != readLines(true) || stderr != "2 of 2 packets match\n" {
		t.Errorf("%v, prints %q and %q", err, stdout, stderr)
	}
	stdout, stderr, err = filter("--packets", path, "--print=json", "tcp")
	if err != nil || stdout != "" || stderr != "0 of 2 packets match\n" {
		t.Errorf("%v, prints %q and %q", err, stdout, stderr)
	}
	// What was cut off is told with the count.
	if err := os.Truncate(path, int64(len(readFile(false))-10)); err != nil {
		t.Fatal(err)
	}
	stdout, _, err = filter("--packets", path, "udp")
	if exit.Code(err) != exit.Partial || stdout != "1 of 1 packet match\n" || !strings.Contains(err.Error(), "was read up to packet 1: it is cut off") {
		t.Errorf("%v (code %d), prints %q", err, exit.Code(err), stdout)
	}
}

// readCommand runs capture read.
func readCommand(args ...string) (stdout, stderr string, err error) {
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	cmd := NewRead(streams)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err = cmd.Execute()
	return out.String(), errOut.String(), err
}

func TestReadWithFilter(t *testing.T) {
	file := mixedFile(t)
	stdout, _, err := readCommand(file, "--filter", "pod web-1 and udp", "--packet-count", "2", "--print", "json")
	if err != nil || strings.Count(stdout, "\n") != 2 || strings.Count(stdout, `"protocol":"UDP"`) != 2 {
		t.Errorf("%v, prints %q", err, stdout)
	}
	stdout, _, err = readCommand(file, "--filter", "arp")
	if err != nil || !strings.HasSuffix(stdout, "shop/web-1/eth0 In  ARP, Request who-has 0.0.0.0 tell shop/web-1, length 28\n") || strings.Count(stdout, "\n") != 1 {
		t.Errorf("%v, prints %q", err, stdout)
	}
}

func TestWrongFiltersOfFiles(t *testing.T) {
	file := mixedFile(t)
	for _, test := range []struct {
		args         []string
		code         int
		text, advice string
	}{
		{[]string{"--packets", file, "pod shop/web-2 or svc db"}, exit.Failed, "the filter names what the file has no address of: pod shop/web-2, service db", "NAMESPACE/NAME"},
		{[]string{"--packets", file, "not svc web-1"}, exit.Failed, "service web-1", ""},
		{[]string{"--packets", file, "tcp prot 80"}, exit.Usage, `unexpected "prot"`, "port"},
		{[]string{"--packets", file, "tcp and udp"}, exit.Usage, "no packet can pass", ""},
		{[]string{"--packets", file, "-d", "tcp"}, exit.Usage, "--packets and --dump exclude each other", ""},
		{[]string{"--packets", file, "--print=wide", "tcp"}, exit.Usage, `--print "wide"`, ""},
		{[]string{"--print", "tcp"}, exit.Usage, "--packets is not given", "--packets FILE"},
		{[]string{"--packets", file + ".none", "tcp"}, exit.Failed, "no such file", ""},
		{[]string{"--packets", "../capture/read.go", "tcp"}, exit.Failed, "is no capture file", "pcapng or pcap"},
	} {
		_, _, err := filter(test.args...)
		if err == nil || exit.Code(err) != test.code || !strings.Contains(err.Error(), test.text) || !strings.Contains(hint.Of(err), test.advice) {
			t.Errorf("%q: %v (code %d), hint %q", test.args, err, exit.Code(err), hint.Of(err))
		}
	}
}
