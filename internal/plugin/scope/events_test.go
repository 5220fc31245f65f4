//go:build linux

package scope

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf/ringbuf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// The reading ends with the first error, once what came before it is there.
func TestReadingEnds(t *testing.T) {
	var record bytes.Buffer
	if err := binary.Write(&record, binary.NativeEndian, bpf.ScopeScopeEvent{Kind: KindDrop, Target: 7}); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	for _, test := range []struct {
		name  string
		last  ringbuf.Record
		err   error
		fails bool
	}{
		{"closed", ringbuf.Record{}, os.ErrClosed, false},
		{"broken", ringbuf.Record{}, broken, true},
		{"short", ringbuf.Record{RawSample: record.Bytes()[:3]}, nil, true},
	} {
		e := &events{perSecond: 10, describe: map[uint8]func(*RawEvent, *wire.Event){}}
		calls := 0
		e.read(func() (ringbuf.Record, error) {
			if calls++; calls == 1 {
				return ringbuf.Record{RawSample: record.Bytes()}, nil
			}
			return test.last, test.err
		})
		if calls != 2 || len(e.pending) != 1 || e.pending[0].Target != 7 {
			t.Errorf("%s: %d reads, events %+v; want 2 and one", test.name, calls, e.pending)
		}
		if (e.err != nil) != test.fails || test.err == broken && !errors.Is(e.err, broken) {
			t.Errorf("%s: the reading has ended with %v", test.name, e.err)
		}
	}
}

// What is not wanted takes no place of what is.
func TestUnwantedKinds(t *testing.T) {
	e := &events{perSecond: 1, wanted: []string{wire.EventDNS, wire.EventReset}}
	if got := e.mask(); got != 1<<KindDNS|1<<KindReset {
		t.Errorf("mask %b", got)
	}
	s := &Scope{events: e}
	for range 3 {
		s.Emit(wire.Event{Kind: wire.EventConnect})
	}
	s.Emit(wire.Event{Kind: wire.EventDNS})
	if len(e.pending) != 1 || e.pending[0].Kind != wire.EventDNS || e.suppressed != 0 {
		t.Errorf("events %+v, %d too many", e.pending, e.suppressed)
	}
	if all := (&events{}).mask(); all != 1<<KindDrop|1<<KindReset|1<<KindRetransmit|1<<KindDNS|1<<KindConnect {
		t.Errorf("mask of all %b", all)
	}
}
