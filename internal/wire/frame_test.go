package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// stream is a whole collector's stream.
func stream(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := wire.NewWriter(&b)
	payload := make([]byte, wire.PacketsHeaderLen+5)
	wire.PacketsHeader{CompleteNS: 7, Seen: 8, Lost: 9}.Put(payload)
	copy(payload[wire.PacketsHeaderLen:], "block")
	for _, err := range []error{
		w.WriteJSON(wire.KindHello, wire.Hello{Version: wire.Version, Collector: "v1"}),
		w.WriteFrame(wire.KindPackets, payload),
		w.WriteFrame(wire.KindGo, nil),
		w.WriteEnd(wire.End{Reason: wire.EndStop}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// readAll reads frames until an error, which it returns.
func readAll(b []byte) (kinds []wire.Kind, payloads []string, err error) {
	r := wire.NewReader(bytes.NewReader(b))
	buf := make([]byte, 16)
	for {
		kind, payload, err := r.ReadFrame(buf)
		if err != nil {
			return kinds, payloads, err
		}
		kinds, payloads = append(kinds, kind), append(payloads, string(payload))
	}
}

func TestStreamArrivesWhole(t *testing.T) {
	kinds, payloads, err := readAll(stream(t))
	if err != io.EOF {
		t.Fatalf("ended with %v", err)
	}
	if want := []wire.Kind{wire.KindHello, wire.KindPackets, wire.KindGo, wire.KindEnd}; string(kindBytes(kinds)) != string(kindBytes(want)) {
		t.Errorf("kinds %v, want %v", kinds, want)
	}
	header, blocks, err := wire.ParsePackets([]byte(payloads[1]))
	if err != nil || header != (wire.PacketsHeader{CompleteNS: 7, Seen: 8, Lost: 9}) || string(blocks) != "block" {
		t.Errorf("packets frame: %+v %q %v", header, blocks, err)
	}
}

func kindBytes(kinds []wire.Kind) (b []byte) {
	for _, k := range kinds {
		b = append(b, byte(k))
	}
	return b
}

func TestCutAnywhereIsNoticed(t *testing.T) {
	whole := stream(t)
	for n := range whole {
		if _, _, err := readAll(whole[:n]); !errors.Is(err, wire.ErrCut) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestDamageAnywhereIsNoticed(t *testing.T) {
	whole := stream(t)
	for n := range whole {
		damaged := bytes.Clone(whole)
		damaged[n] ^= 0x41
		kinds, _, err := readAll(damaged)
		if err != io.EOF {
			continue
		}
		// Only the reason in the End frame itself may change unseen: it is not
		// under its own checksum, and harmless.
		if kinds[len(kinds)-1] != wire.KindEnd || n < bytes.Index(whole, []byte(`"reason"`)) {
			t.Errorf("byte %d of %d changed, and nobody noticed", n, len(whole))
		}
	}
}

func TestLongFrameIsRefused(t *testing.T) {
	w := wire.NewWriter(io.Discard)
	if err := w.WriteFrame(wire.KindPackets, make([]byte, wire.MaxPayload+1)); err == nil {
		t.Error("a frame over the limit was written")
	}
	header := []byte{byte(wire.KindPackets), 0, 0, 0, 0xff, 0xff, 0xff, 0xff}
	if _, _, err := readAll(header); !errors.Is(err, wire.ErrCut) {
		t.Errorf("a frame of 4 GiB was begun: %v", err)
	}
}

func TestSpecValidate(t *testing.T) {
	good := func() *wire.Spec {
		return &wire.Spec{Version: wire.Version, RunID: "a1", MaxSeconds: 10, Packets: &wire.PacketsSpec{
			SnapLen: 96, RingBytes: 1 << 20, Targets: []wire.Target{{ID: 1, Name: "pod a/b", PodUID: "u"}, {ID: 2, Name: "node n", Node: true}},
		}}
	}
	if err := good().Validate(); err != nil {
		t.Fatalf("a good spec: %v", err)
	}
	for want, spoil := range map[string]func(*wire.Spec){
		"version 1":          func(s *wire.Spec) { s.Version = 1 },
		"run ID":             func(s *wire.Spec) { s.RunID = "A/../b" },
		"run ID \"\"":        func(s *wire.Spec) { s.RunID = "" },
		"not positive":       func(s *wire.Spec) { s.MaxSeconds = 0 },
		"asks for nothing":   func(s *wire.Spec) { s.Packets = nil },
		"snaplen 1 ":         func(s *wire.Spec) { s.Packets.SnapLen = 1 },
		"power of two":       func(s *wire.Spec) { s.Packets.RingBytes = 3 << 20 },
		"0 targets":          func(s *wire.Spec) { s.Packets.Targets = nil },
		"used twice":         func(s *wire.Spec) { s.Packets.Targets[1].ID = 1 },
		"a pod or a node":    func(s *wire.Spec) { s.Packets.Targets[1].PodUID = "u" },
		"unknown hook":       func(s *wire.Spec) { s.Packets.Hook = "xdp" },
		"1025 targets":       func(s *wire.Spec) { s.Packets.Targets = make([]wire.Target, 1025) },
		"must be a pod or a": func(s *wire.Spec) { s.Packets.Targets[0].PodUID = "" },
	} {
		s := good()
		spoil(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(stream(f))
	f.Add([]byte{byte(wire.KindEnd), 0, 0, 0, 2, 0, 0, 0, '{', '}'})
	f.Fuzz(func(t *testing.T, b []byte) {
		kinds, payloads, err := readAll(b)
		if err == io.EOF {
			var end wire.End
			if kinds[len(kinds)-1] != wire.KindEnd || json.Unmarshal([]byte(payloads[len(payloads)-1]), &end) != nil || end.Frames != uint64(len(kinds)-1) {
				t.Errorf("accepted a stream without a true End: %v", kinds)
			}
		} else if !errors.Is(err, wire.ErrCut) {
			t.Errorf("error that is not ErrCut: %v", err)
		}
		for _, p := range payloads {
			_, _, _ = wire.ParsePackets([]byte(p))
		}
	})
}
