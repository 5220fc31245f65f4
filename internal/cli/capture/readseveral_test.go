package capture

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
)

// nodeFile is a capture file of one pod, whose packets come at these milliseconds.
func nodeFile(pod, addr string, at ...int) []byte {
	b := pcapng.Section{Application: "kubectl-retina 1"}.Append(nil)
	b = pcapng.Interface{Name: "shop/" + pod + "/eth0", Description: "node n1, pod shop/" + pod, LinkType: 1}.Append(b)
	b = pcapng.AppendNames(b, []pcapng.Name{{Addr: netip.MustParseAddr(addr), Name: pod + ".shop"}})
	for _, ms := range at {
		b = pcapng.AppendEPB(b, 0, readTime().Add(time.Duration(ms)*time.Millisecond).UnixNano(), 45, 45, pcapng.FlagOutbound, readPacket())
	}
	return b
}

// readSeveral runs the command on several files, in whose order the contents are; the
// returned interfaces are those of the lines in their order.
func readSeveral(t *testing.T, files [][]byte, args ...string) (interfaces, stderr string, err error) {
	t.Helper()
	streams, in, out, errOut := genericiooptions.NewTestIOStreams()
	for i, content := range files {
		path := filepath.Join(t.TempDir(), string(rune('a'+i)))
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	in.Write(nodeFile("stdin", "10.0.0.1", 15))
	err = runOf(NewRead(streams))(args)
	var names []string
	for line := range strings.Lines(out.String()) {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(strings.Fields(line)[1], "shop/"), "/eth0"))
	}
	return strings.Join(names, " "), errOut.String(), err
}

func TestSeveralFilesInTheOrderOfTime(t *testing.T) {
	a, b, empty := nodeFile("a", "10.0.0.1", 0, 20, 30), nodeFile("b", "10.0.0.2", 10, 20, 40), nodeFile("c", "10.0.0.3")
	archive := readArchive(t, "x.pcapng", nodeFile("d", "10.0.0.1", -995, -965)) // whose clock is 1 s slow
	for name, test := range map[string]struct {
		files [][]byte
		args  []string
		want  string
	}{
		"two":                  {[][]byte{a, b}, nil, "a b a b a b"},
		"the other way around": {[][]byte{b, a}, nil, "a b b a a b"},
		"one has none":         {[][]byte{empty, a, b}, nil, "a b a b a b"},
		"compressed":           {[][]byte{gzipped(t, a), b}, nil, "a b a b a b"},
		"of an archive":        {[][]byte{a, archive}, nil, "a d a a d"},
		"with standard input":  {[][]byte{a}, []string{"-"}, "a stdin a a"},
		"the first":            {[][]byte{a, b}, []string{"--packet-count", "3"}, "a b a"},
		"that match":           {[][]byte{a, b}, []string{"--filter", "udp port 9", "--packet-count", "2"}, "a b"},
		"that do not":          {[][]byte{a, b}, []string{"--filter", "tcp"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, stderr, err := readSeveral(t, test.files, test.args...)
			if err != nil || stderr != "" {
				t.Fatalf("%v, stderr %q", err, stderr)
			}
			if got != test.want {
				t.Errorf("printed %s, want %s", got, test.want)
			}
		})
	}
}

// Of each file its own names count: the same address may be another pod's elsewhere.
func TestSeveralFilesAndTheirNames(t *testing.T) {
	a, b := nodeFile("a", "10.0.0.1", 0), nodeFile("b", "10.0.0.2", 10)
	got, stderr, err := readSeveral(t, [][]byte{a, b}, "--filter", "src host 10.0.0.1 and pod shop/a")
	if err != nil || got != "a" || !strings.Contains(stderr, "/b: the filter names what the file has no address of: pod shop/a") {
		t.Errorf("printed %q, %v, stderr %q", got, err, stderr)
	}
	_, _, err = readSeveral(t, [][]byte{a, b}, "--filter", "pod shop/z")
	if exit.Code(err) != exit.Failed || !strings.Contains(err.Error(), "pod shop/z") || hint.Of(err) == "" {
		t.Errorf("a pod that no file has: %v", err)
	}
}

func TestSeveralFilesOfWhichOneIsDamaged(t *testing.T) {
	a, b := nodeFile("a", "10.0.0.1", 0, 20, 30), nodeFile("b", "10.0.0.2", 10, 20, 40)
	got, _, err := readSeveral(t, [][]byte{a, b[:len(b)-8]})
	if got != "a b a b a" || exit.Code(err) != exit.Partial || !strings.Contains(err.Error(), "/b was read up to packet 2: it is cut off") {
		t.Errorf("cut off: printed %q, %v", got, err)
	}
	got, _, err = readSeveral(t, [][]byte{a, []byte("#!/bin/sh")})
	if got != "" || exit.Code(err) != exit.Failed || !strings.Contains(err.Error(), "/b is no capture file") {
		t.Errorf("no capture file: printed %q, %v", got, err)
	}
}

// What is no file may have been meant as something else.
func TestReadWhatIsNoFile(t *testing.T) {
	for arg, want := range map[string]string{
		"tcp port 80": "if it is a filter, write --filter 'tcp port 80'",
		t.TempDir():   "name the files in it",
		"no/such":     "",
	} {
		_, _, err := readSeveral(t, [][]byte{nodeFile("a", "10.0.0.1", 0)}, arg)
		if exit.Code(err) != exit.Failed || hint.Of(err) != want {
			t.Errorf("%s: %v (hint %q), want the hint %q", arg, err, hint.Of(err), want)
		}
	}
}
