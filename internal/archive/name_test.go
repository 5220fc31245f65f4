package archive

import (
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

var at = time.Date(2026, 7, 9, 10, 11, 12, 345, time.UTC)

func TestName(t *testing.T) {
	berlin := time.FixedZone("", 7200)
	for _, tt := range []struct {
		capture, node string
		at            time.Time
		want          string
	}{
		{"web", "n1", at, "web-n1-20260709T101112Z"},
		{"web", "n1", at.In(berlin), "web-n1-20260709T101112Z"},
		{"web-7f", "ip-10-0-0-1.eu-west-1.compute.internal", at, "web-7f-ip-10-0-0-1.eu-west-1.compute.internal-20260709T101112Z"},
		{"a/../b", "-x\x00ü", at, "a-..-b-x-x---20260709T101112Z"},
		{"", "", at, "x-x-20260709T101112Z"},
	} {
		got := Name(tt.capture, tt.node, tt.at)
		if got != tt.want {
			t.Errorf("%q on %q is %s, want %s", tt.capture, tt.node, got, tt.want)
		}
		for _, file := range []string{got, got + Extension} {
			captureNode, when, ok := ParseName(file)
			if !ok || captureNode+"-20260709T101112Z" != tt.want || !when.Equal(at.Truncate(time.Second)) {
				t.Errorf("%s is parsed as %q %v %v", file, captureNode, when, ok)
			}
			if !Belongs(file, tt.capture) || !IsOf(file, tt.capture, tt.node) {
				t.Errorf("%s is not of %q on %q", file, tt.capture, tt.node)
			}
		}
	}
}

func TestLongNames(t *testing.T) {
	long := strings.Repeat("n", 253)
	names := map[string]bool{}
	for _, capture := range []string{"c", strings.Repeat("c", 100) + "1", strings.Repeat("c", 100) + "2"} {
		for _, node := range []string{"n", long, long[1:], long[1:] + "x"} {
			name := Name(capture, node, at)
			if len(name) > wire.MaxArchiveName || names[name] {
				t.Errorf("%s of %d bytes, twice: %v", name, len(name), names[name])
			}
			names[name] = true
			if !IsOf(name, capture, node) || IsOf(name, capture, "other") || !Belongs(name, capture) || Belongs(name, capture+"3") {
				t.Errorf("%s is taken for another's", name)
			}
		}
	}
}

func TestNamesOfOthers(t *testing.T) {
	name := Name("web-1", "n-2", at)
	for _, capture := range []string{"web", "web-1", "web-1-n"} {
		if !Belongs(name, capture) {
			t.Errorf("%s cannot be of %s", name, capture)
		}
	}
	for _, capture := range []string{"we", "web-", "web-1-n-2", "eb-1", "WEB"} {
		if Belongs(name, capture) {
			t.Errorf("%s can be of %s", name, capture)
		}
	}
	if IsOf(name, "web", "n-2") || !IsOf(name, "web", "1-n-2") {
		t.Error("node is not compared")
	}
	for _, file := range []string{
		"", "x", "web-n1", "web-20260709T101112Z", "web-n1-20260709T101112", "web-n1-20261309T101112Z", "-web-n1-20260709T101112Z",
		"web-n1-20260709T101112Z.tar", "a/web-n1-20260709T101112Z", ".web-n1-20260709T101112Z", "web-n1-20260709T101112Z.tar.gz.partial",
		strings.Repeat("x", 200) + "-n1-20260709T101112Z",
	} {
		if captureNode, _, ok := ParseName(file); ok {
			t.Errorf("%q is taken for an archive of %q", file, captureNode)
		}
	}
}

func FuzzName(f *testing.F) {
	f.Add("web", "n1.example", "web-n1-20260709T101112Z")
	f.Fuzz(func(t *testing.T, capture, node, file string) {
		name := Name(capture, node, at)
		spec := wire.Spec{Version: wire.Version, RunID: "a", MaxSeconds: 1,
			Packets: &wire.PacketsSpec{SnapLen: 96, RingBytes: 1 << 20, Targets: []wire.Target{{Node: true}}},
			Store:   &wire.StoreSpec{Archive: name, Format: "pcap", StagingBytes: 1}}
		if err := spec.Validate(); err != nil {
			t.Fatal(err)
		}
		if !Belongs(name, capture) || !IsOf(name+Extension, capture, node) {
			t.Errorf("%q is not of %q on %q", name, capture, node)
		}
		ParseName(file)
	})
}
