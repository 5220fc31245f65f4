//go:build linux && !unit

package collector_test

import (
	"slices"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// TestExamine has every plugin tried on this kernel, and the stream filled.
func TestExamine(t *testing.T) {
	vethtest.NeedRoot(t)
	all := []string{"packets", "packetforward", "dropreason", "packetparser", "tcpretrans", "dns", "linuxutil", "apiserver", "absent"}
	c := converse(t)
	c.say(wire.KindSpec, wire.Spec{Version: wire.Version, RunID: "a1", MaxSeconds: 60, Doctor: &wire.DoctorSpec{Plugins: all, StreamMS: 100}})
	var found wire.Examined
	c.expect(wire.KindExamined, &found)
	if found.BootID == "" || found.BTF != "" || found.ProgramsUnknown != "" {
		t.Errorf("boot ID %q, BTF %q, programs %q", found.BootID, found.BTF, found.ProgramsUnknown)
	}
	var names []string
	for _, tried := range found.Tried {
		names = append(names, tried.Plugin)
		t.Logf("%+v", tried)
		if (tried.Cause != "") != (tried.Plugin == "absent") || tried.Micros <= 0 {
			t.Errorf("%s: %q after %d µs", tried.Plugin, tried.Cause, tried.Micros)
		}
		if tried.Plugin == "packets" && tried.Hook == "" || tried.Plugin == "packets" && (tried.Hook == "tcx") != (found.TCX == "") {
			t.Errorf("packets attached by %q; TCX: %q", tried.Hook, found.TCX)
		}
	}
	if !slices.Equal(names, all) {
		t.Errorf("tried %q", names)
	}

	c.say(wire.KindGo, nil)
	var frames, bytes int
	began := time.Now()
	for {
		kind, payload, err := c.read.ReadFrame(nil)
		vethtest.Must(t, err)
		if kind == wire.KindEnd {
			break
		}
		if kind != wire.KindFiller {
			t.Fatalf("frame of kind %d: %.200s", kind, payload)
		}
		frames, bytes = frames+1, bytes+len(payload)
	}
	if frames == 0 || bytes != frames*wire.FillerBytes || time.Since(began) > 10*time.Second {
		t.Errorf("%d frames of %d bytes in %s", frames, bytes, time.Since(began))
	}
	c.ended("")
}

// TestExamineStops: a stop instead of go ends it, and nothing is sent.
func TestExamineStops(t *testing.T) {
	vethtest.NeedRoot(t)
	c := converse(t)
	c.say(wire.KindSpec, wire.Spec{Version: wire.Version, RunID: "a1", MaxSeconds: 60, Doctor: &wire.DoctorSpec{Plugins: []string{"linuxutil"}, StreamMS: 100}})
	c.expect(wire.KindExamined, nil)
	c.say(wire.KindStop, nil)
	kind, _, err := c.read.ReadFrame(nil)
	vethtest.Must(t, err)
	if kind != wire.KindEnd {
		t.Errorf("frame of kind %d", kind)
	}
	c.ended("")
}
