package capture

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/packetprint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
)

// readPacket is a UDP datagram from 10.0.0.1:7 to 10.0.0.2:9.
func readPacket() []byte {
	return []byte("\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00" +
		"\x45\x00\x00\x1f\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02" + "\x00\x07\x00\x09\x00\x0b\x00\x00abc")
}

func readTime() time.Time { return time.Date(2026, 11, 22, 15, 4, 5, 123456789, time.UTC) }

// readFile is a capture file of ours with two packets.
func readFile(incomplete bool) []byte {
	b := pcapng.Section{Application: "kubectl-retina 1"}.Append(nil)
	b = pcapng.Interface{Name: "shop/web-1/eth0", Description: "node n1, pod shop/web-1, containers web", LinkType: 1}.Append(b)
	b = pcapng.AppendNames(b, []pcapng.Name{
		{Addr: netip.MustParseAddr("10.0.0.1"), Name: "web-1.shop"}, {Addr: netip.MustParseAddr("10.0.0.2"), Name: "web.shop.svc"},
	})
	b = pcapng.AppendEPB(b, 0, readTime().UnixNano(), 45, 45, pcapng.FlagOutbound, readPacket())
	b = pcapng.AppendEPB(b, 0, readTime().Add(time.Second).UnixNano(), 45, 45, pcapng.FlagInbound, readPacket())
	if incomplete {
		b = pcapng.Section{Application: "kubectl-retina 1", Comments: []string{"incomplete: node n2 failed\x1b[2J"}}.Append(b)
	}
	return b
}

// localTime is how a line has a time.
func localTime(at time.Time) string { return at.Local().Format("15:04:05.000000") }

func readLines(names bool) string {
	ends := "shop/web-1.7 > svc shop/web.9"
	if !names {
		ends = "10.0.0.1.7 > 10.0.0.2.9"
	}
	return localTime(readTime()) + " shop/web-1/eth0 Out IP " + ends + ": UDP, length 3\n" +
		localTime(readTime().Add(time.Second)) + " shop/web-1/eth0 In  IP " + ends + ": UDP, length 3\n"
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// readArchive is an archive with one packet file, whose node's clock is 1 s slow.
func readArchive(t *testing.T, name string, file []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(file)
	record := archive.Record{
		APIVersion: archive.APIVersion, Kind: archive.Kind,
		CommandPart: archive.CommandPart{Name: "c", Node: "n1", Format: strings.TrimPrefix(filepath.Ext(name), "."), ClockCorrectionNS: 1e9,
			Targets: []archive.Target{{Kind: "Pod", Namespace: "shop", Name: "web-1"}}},
		NodePart: archive.NodePart{
			Interfaces: []archive.InterfaceRecord{{Name: "eth0", LinkType: 1}},
			Files:      []archive.FileRecord{{Name: name, Bytes: int64(len(file)), SHA256: hex.EncodeToString(sum[:])}},
		},
	}
	text, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, entry := range []struct {
		name string
		body []byte
	}{{"c-n1/" + archive.RecordFile, text}, {"c-n1/" + name, file}} {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: entry.name, Size: int64(len(entry.body)), Mode: 0o600}))
		_, writeErr := w.Write(entry.body)
		err = errors.Join(err, writeErr)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return gzipped(t, out.Bytes())
}

// runRead runs the command on a file, or on standard input when arguments end
// with "-".
func runRead(t *testing.T, file []byte, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	streams, in, out, errOut := genericiooptions.NewTestIOStreams()
	if len(args) > 0 && args[len(args)-1] == "-" {
		in.Write(file)
	} else {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	err = runOf(NewRead(streams))(args)
	return out.String(), errOut.String(), err
}

func TestRead(t *testing.T) {
	pcap := pcapng.AppendPcapHeader(nil, 1, 0)
	p, _, err := pcapng.NextPacket(pcapng.AppendEPB(nil, 0, readTime().UnixNano(), 45, 45, 0, readPacket()))
	if err != nil {
		t.Fatal(err)
	}
	pcap = pcapng.AppendPcapRecord(pcap, p)
	first, _, _ := strings.Cut(readLines(true), "\n")
	tests := []struct {
		name string
		file []byte
		args []string
		want string
	}{
		{"a file of ours", readFile(false), nil, readLines(true)},
		{"standard input", readFile(false), []string{"-"}, readLines(true)},
		{"no names", readFile(false), []string{"--names=false"}, readLines(false)},
		{"one packet", readFile(false), []string{"--packet-count", "1"}, first + "\n"},
		{"compressed", gzipped(t, readFile(false)), []string{"-"}, readLines(true)},
		{"pcap", pcap, nil, localTime(readTime()) + " IP 10.0.0.1.7 > 10.0.0.2.9: UDP, length 3\n"},
		{"archive", readArchive(t, "packets.pcapng", readFile(false)), []string{"--packet-count", "1"},
			strings.Replace(first, localTime(readTime()), localTime(readTime().Add(time.Second)), 1) + "\n"},
		{"archive of a pcap", readArchive(t, "packets.pcap", pcap), nil,
			localTime(readTime().Add(time.Second)) + " shop/web-1/eth0 IP 10.0.0.1.7 > 10.0.0.2.9: UDP, length 3\n"},
	}
	for _, test := range tests {
		stdout, stderr, err := runRead(t, test.file, test.args...)
		if stdout != test.want || stderr != "" || err != nil {
			t.Errorf("%s: %q, %q, %v, want %q", test.name, stdout, stderr, err, test.want)
		}
	}
}

func TestReadFormats(t *testing.T) {
	stdout, _, err := runRead(t, readFile(false), "--print=full", "--packet-count=1")
	if err != nil || !strings.Contains(stdout, "\n\tUDP ") || !strings.Contains(stdout, "\n\t0x0020:  ") {
		t.Errorf("full: %v\n%s", err, stdout)
	}
	stdout, _, err = runRead(t, readFile(false), "-o", "json")
	var r packetprint.Record
	if lines := strings.Split(stdout, "\n"); err != nil || len(lines) != 3 || json.Unmarshal([]byte(lines[0]), &r) != nil ||
		r.Pod != "shop/web-1" || r.Node != "n1" || r.Destination.Name != "svc shop/web" || !r.Time.Equal(readTime()) {
		t.Errorf("json: %v %+v\n%s", err, r, stdout)
	}
}

func TestReadSaysWhatIsMissing(t *testing.T) {
	whole := readFile(true)
	stdout, stderr, err := runRead(t, whole)
	if stdout != readLines(true) || stderr != "warning: the capture is incomplete: node n2 failed\uFFFD[2J\n" || err != nil {
		t.Errorf("incomplete: %q %q %v", stdout, stderr, err)
	}
	first, _, _ := strings.Cut(readLines(true), "\n")
	cutArchive := readArchive(t, "packets.pcapng", readFile(false))
	damaged := bytes.Clone(readFile(false))
	damaged[len(damaged)-1] = 1
	tests := []struct {
		name   string
		file   []byte
		code   int
		stdout string
		want   string
	}{
		{"cut", readFile(false)[:len(readFile(false))-3], exit.Partial, first + "\n", " was read up to packet 1: it is cut off"},
		{"cut when compressed", gzipped(t, readFile(false))[:150], exit.Partial, "*", ": it is cut off"},
		{"damaged", damaged, exit.Partial, first + "\n", " was read up to packet 1: block of type 0x6 begins with length"},
		{"cut archive", cutArchive[:len(cutArchive)-40], exit.Partial, "*", "archive is cut off"},
		{"text", []byte("hello world"), exit.Failed, "", " is no capture file: neither pcapng nor pcap: begins with 68656c6c"},
		{"empty", nil, exit.Failed, "", " is no capture file: neither pcapng nor pcap: too short"},
		{"compressed text", gzipped(t, []byte("hello world")), exit.Failed, "", " is no capture file"},
	}
	for _, test := range tests {
		stdout, _, err := runRead(t, test.file)
		if test.stdout != "*" && stdout != test.stdout || exit.Code(err) != test.code || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %q, code %d: %v, want %d %q", test.name, stdout, exit.Code(err), err, test.code, test.want)
		}
	}
	if _, _, err := runRead(t, []byte("hello world")); !strings.HasPrefix(hint.Of(err), "name a pcapng or pcap file") {
		t.Errorf("hint %q", hint.Of(err))
	}
}

func TestReadUsage(t *testing.T) {
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	tests := []struct {
		args []string
		code int
		want string
	}{
		{nil, exit.Usage, "no file is named"},
		{[]string{"-", "a", "-"}, exit.Usage, "- is given 2 times, and there is one standard input"},
		{[]string{"a", "--print=hex"}, exit.Usage, `--print "hex" is not one of line, full`},
		{[]string{"a", "-o", "yaml"}, exit.Usage, `-o "yaml" is not json`},
		{[]string{"a", "-o", "json", "--print=full"}, exit.Usage, "--print and -o exclude each other"},
		{[]string{"no/such/file"}, exit.Failed, "open no/such/file: "},
	}
	for _, test := range tests {
		err := runOf(NewRead(streams))(test.args)
		if exit.Code(err) != test.code || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: code %d: %v, want %d %q", test.args, exit.Code(err), err, test.code, test.want)
		}
	}
}

// closedPipe is the output of a command whose reader is gone.
type closedPipe struct{ err error }

func (c closedPipe) Write([]byte) (int, error) { return 0, c.err }

func TestReadOutputFails(t *testing.T) {
	for _, test := range []struct{ err, want error }{{syscall.EPIPE, nil}, {io.ErrClosedPipe, nil}, {syscall.ENOSPC, syscall.ENOSPC}} {
		streams, in, _, _ := genericiooptions.NewTestIOStreams()
		streams.Out = closedPipe{test.err}
		in.Write(readFile(false))
		if err := runOf(NewRead(streams))([]string{"-"}); !errors.Is(err, test.want) {
			t.Errorf("%v: %v, want %v", test.err, err, test.want)
		}
	}
}

// An interrupted reader of a pipe prints what still comes.
func TestReadInterrupted(t *testing.T) {
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	r, w := io.Pipe()
	streams.In = r
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	go func() {
		_, _ = w.Write(readFile(false))
		_ = w.Close()
	}()
	o := readOptions{streams: streams, print: "line", names: true}
	if err := o.run(ctx, "-"); err != nil || out.String() != readLines(true) {
		t.Errorf("%v\n%s", err, out)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, readFile(false), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := o.run(ctx, path); exit.Code(err) != exit.Interrupted {
		t.Errorf("file: %v", err)
	}
}

func TestFileNames(t *testing.T) {
	f := fileNames{ours: true, namespaces: map[string]bool{"shop": true, "internal": true}, nodes: map[string]bool{"ip-10.ec2.internal": true}}
	for in, want := range map[string]string{
		"":                   "",
		"web-1.shop":         "shop/web-1",
		"a.b.shop":           "shop/a.b",
		"web.shop.svc":       "svc shop/web",
		"n1":                 "n1",
		"ip-10.ec2.internal": "ip-10.ec2.internal",
		"ip-11.example.com":  "ip-11.example.com",
	} {
		f.names = map[netip.Addr]string{netip.MustParseAddr("10.0.0.1"): in}
		if got := f.name(netip.MustParseAddr("::ffff:10.0.0.1")); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	f.ours, f.names = false, map[netip.Addr]string{netip.MustParseAddr("10.0.0.1"): "web-1.shop"}
	if got := f.name(netip.MustParseAddr("10.0.0.1")); got != "web-1.shop" {
		t.Errorf("of another program: %q", got)
	}
}
