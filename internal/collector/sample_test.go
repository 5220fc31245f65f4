//go:build linux

package collector

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// TestLargeSampleComesInParts sends more than a frame holds.
func TestLargeSampleComesInParts(t *testing.T) {
	var s wire.Sample
	s.Seq = 7
	for n := range 60_000 {
		s.Flows = append(s.Flows, wire.FlowSample{FlowKey: wire.FlowKey{Target: uint32(n), Local: netip.MustParseAddr("2001:db8::1"), Remote: netip.MustParseAddr("2001:db8::2")}})
	}
	s.Lost = []wire.LostSample{{Plugin: "dns", What: "names", Count: 1}}
	var b bytes.Buffer
	if err := sendSample(newSender(&b), s); err != nil {
		t.Fatal(err)
	}
	r := wire.NewReader(&b)
	next, lost, parts := uint32(0), 0, 0
	for more := true; more; parts++ {
		kind, payload, err := r.ReadFrame(nil)
		if err != nil || kind != wire.KindSample {
			t.Fatalf("frame %d, %v", kind, err)
		}
		var part wire.Sample
		if err := json.Unmarshal(payload, &part); err != nil {
			t.Fatal(err)
		}
		for _, f := range part.Flows {
			if f.Target != next {
				t.Fatalf("flow %d comes where %d should", f.Target, next)
			}
			next++
		}
		lost += len(part.Lost)
		if more = part.More; part.Seq != 7 {
			t.Errorf("part has number %d", part.Seq)
		}
	}
	if next != 60_000 || lost != 1 || parts < 2 {
		t.Errorf("%d flows and %d losses in %d parts", next, lost, parts)
	}
}

func TestEntryThatFitsNoFrame(t *testing.T) {
	s := wire.Sample{DNS: []wire.DNSSample{{Name: strings.Repeat("x", wire.MaxPayload)}}}
	if err := sendSample(newSender(io.Discard), s); !errors.Is(err, errLargeEntry) {
		t.Errorf("error %v", err)
	}
}
