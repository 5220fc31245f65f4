//go:build linux

package dns

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/dns"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const ms = uint64(1e6) // in ns

// script drives a decoder with messages of one target.
type script struct {
	*decoder
	t      *testing.T
	failed []string
}

func newScript(t *testing.T, entries uint32) *script {
	s := &script{t: t}
	s.decoder = newDecoder(entries, func(w *waiting, reason string, at uint64) {
		s.failed = append(s.failed, fmt.Sprintf("%s %s at %d ms", w.name, reason, at/ms))
	})
	return s
}

// A packet is what the program would copy; mapped addresses, ports in network order.
func packet(at uint64, from, to string, direction uint8, payload []byte) (*bpf.DNSDnsRecord, []byte) {
	source, destination := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	port := func(p uint16) uint16 { return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, p)) }
	return &bpf.DNSDnsRecord{
		MonotonicNs: at * ms, Target: 1, Length: uint32(len(payload)), Copied: uint32(len(payload)), Source: source.Addr().As16(),
		Destination: destination.Addr().As16(), SourcePort: port(source.Port()), DestinationPort: port(destination.Port()), Protocol: 17, Direction: direction,
	}, payload
}

const (
	client = "192.0.2.1:4001"
	server = "192.0.2.53:53"
	in     = 1
	out    = directionOut
)

// ask and answer are those of a client, at a time in ms.
func (s *script) ask(at uint64, id uint16, name string) {
	s.packet(packet(at, client, server, out, build(s.t, id, false, name+".", dnsmessage.TypeA, 0)))
}

func (s *script) reply(at uint64, id uint16, name string, code int) {
	s.packet(packet(at, server, client, in, build(s.t, id, true, name+".", dnsmessage.TypeA, code)))
}

// counted says what has been counted since the last call, sorted.
func (s *script) counted() string {
	var lines []string
	for _, e := range s.sample(nil, s.now, nil) {
		line := fmt.Sprintf("%s %s %s %s: %d asked, %d answered, %d timeouts, %d us", e.Role, e.Server, e.Name, e.Type, e.Queries, e.Responses, e.Timeouts, e.Latency.Sum)
		for _, code := range slices.Sorted(maps.Keys(e.Codes)) {
			line += fmt.Sprintf(", %s %d", code, e.Codes[code])
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (s *script) expect(what, want string) {
	s.t.Helper()
	if got := s.counted(); got != want {
		s.t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

// expectIgnored compares what is ignored of target 1, and that nothing is lost by it.
func (s *script) expectIgnored(want ...string) {
	s.t.Helper()
	var got []string
	for _, i := range s.ignored.sampleIgnored(nil) {
		got = append(got, fmt.Sprintf("%s %d", i.Name, i.Value))
		if i.Target != 1 || i.Group != "dns" || i.Gauge {
			s.t.Errorf("ignored: %+v", i)
		}
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("ignored %q, want %q", got, want)
	}
	for what, count := range s.lost() {
		if count != 0 {
			s.t.Errorf("lost %d %s", count, what)
		}
	}
}

func TestExchanges(t *testing.T) {
	const who = "client 192.0.2.53:53 "
	s := newScript(t, 100)
	s.ask(0, 1, "a.example")
	s.ask(1, 2, "b.example")
	s.reply(3, 2, "b.example", 3)
	s.reply(10, 1, "A.example", 0)
	s.expect("two at once", who+"a.example A: 1 asked, 1 answered, 0 timeouts, 10000 us, NOERROR 1\n"+
		who+"b.example A: 1 asked, 1 answered, 0 timeouts, 2000 us, NXDOMAIN 1")
	s.expect("nothing new", "")
	s.reply(11, 1, "a.example", 0)
	s.expect("a response to nobody", who+"a.example A: 1 asked, 2 answered, 0 timeouts, 10000 us, NOERROR 2")
	s.ask(20, 3, "c.example")
	s.reply(30, 4, "c.example", 0)
	s.reply(31, 3, "d.example", 0)
	s.expect("another id, another name", who+"c.example A: 1 asked, 1 answered, 0 timeouts, 0 us, NOERROR 1\n"+
		who+"d.example A: 0 asked, 1 answered, 0 timeouts, 0 us, NOERROR 1")
	s.expire(5020 * ms)
	s.expect("exactly 5 s", "")
	s.expire(5021 * ms)
	s.expect("more than 5 s", who+"c.example A: 1 asked, 1 answered, 1 timeouts, 0 us, NOERROR 1")
	if want := []string{"b.example NXDOMAIN at 3 ms", "c.example timeout at 5021 ms"}; !slices.Equal(s.failed, want) {
		t.Errorf("failed: %q, want %q", s.failed, want)
	}
	if s.count != 0 || len(s.open) != 0 || s.oldest != nil || s.young != nil {
		t.Errorf("%d queries still wait, %d open", s.count, len(s.open))
	}
}

func TestRepeatedQueries(t *testing.T) {
	const who = "client 192.0.2.53:53 x A: "
	tests := []struct {
		name string
		act  func(s *script)
		want string
	}{
		{"the second is answered", func(s *script) { s.ask(0, 1, "x"); s.ask(2000, 1, "x"); s.reply(2010, 1, "x", 0) }, "2 asked, 1 answered, 0 timeouts, 2010000 us, NOERROR 1"},
		{"both are answered", func(s *script) {
			s.ask(0, 1, "x")
			s.ask(2000, 1, "x")
			s.reply(2010, 1, "x", 0)
			s.reply(2020, 1, "x", 0)
		}, "2 asked, 2 answered, 0 timeouts, 2010000 us, NOERROR 2"},
		{"none is answered", func(s *script) { s.ask(0, 1, "x"); s.ask(2000, 1, "x"); s.expire(8000 * ms) }, "2 asked, 0 answered, 2 timeouts, 0 us"},
		{"the first had no answer in time", func(s *script) { s.ask(0, 1, "x"); s.ask(4900, 1, "x"); s.reply(5100, 1, "x", 0) }, "2 asked, 1 answered, 1 timeouts, 200000 us, NOERROR 1"},
		{"a late answer", func(s *script) { s.ask(0, 1, "x"); s.reply(5001, 1, "x", 0) }, "1 asked, 1 answered, 1 timeouts, 0 us, NOERROR 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t, 100)
			test.act(s)
			s.expire(20000 * ms)
			s.expect(test.name, who+test.want)
			if s.count != 0 || len(s.open) != 0 {
				t.Errorf("%d queries still wait", s.count)
			}
		})
	}
}

// A server that does not like a query may leave its question out.
func TestResponseWithoutQuestion(t *testing.T) {
	s := newScript(t, 100)
	s.ask(0, 1, "x")
	s.packet(packet(5, server, client, in, raw(0x8000|1, [4]byte{})))
	s.expect("to nobody", "client 192.0.2.53:53 x A: 1 asked, 0 answered, 0 timeouts, 0 us")
	s.ask(6, 0x1234, "y")
	s.packet(packet(8, server, client, in, raw(0x8000|1, [4]byte{})))
	s.expect("to the one that waits", "client 192.0.2.53:53 y A: 1 asked, 1 answered, 0 timeouts, 2000 us, FORMERR 1")
	s.expectIgnored("unmatched_responses 1")
}

func TestRolesAndStrangers(t *testing.T) {
	s := newScript(t, 100)
	query, response := build(t, 1, false, "x.", dnsmessage.TypeA, 0), build(t, 1, true, "x.", dnsmessage.TypeA, 2)
	s.packet(packet(0, "[2001:db8::9]:4001", "[2001:db8::53]:53", in, query))
	s.packet(packet(7, "[2001:db8::53]:53", "[2001:db8::9]:4001", out, response))
	s.expect("a server", "server [2001:db8::53]:53 x A: 1 asked, 1 answered, 0 timeouts, 7000 us, SERVFAIL 1")
	s.packet(packet(8, "192.0.2.9:53", "192.0.2.53:53", in, query))
	s.packet(packet(9, "192.0.2.53:53", "192.0.2.9:53", out, response))
	s.expect("both ports are 53", "server 192.0.2.53:53 x A: 1 asked, 1 answered, 0 timeouts, 1000 us, SERVFAIL 1")
	s.packet(packet(10, client, server, out, response)) // a response to port 53
	s.packet(packet(11, server, client, in, query))     // a query from it
	s.packet(packet(12, client, server, out, raw(4<<11, [4]byte{1}, 0, 0, 6, 0, 1)))
	s.expect("what is no exchange", "")
	s.packet(packet(13, client, server, out, []byte("garbage on port 53")))
	s.expectIgnored("malformed_messages 1")
	if len(s.failed) != 0 {
		t.Errorf("failed: %q", s.failed)
	}
}

func TestMergedDatagrams(t *testing.T) {
	s := newScript(t, 100)
	one := build(t, 1, false, "x.", dnsmessage.TypeA, 0)
	record, payload := packet(0, client, server, out, slices.Concat(one, one, one))
	record.Segment = uint16(len(one))
	s.packet(record, payload)
	s.expect("three in one", "client 192.0.2.53:53 x A: 3 asked, 0 answered, 0 timeouts, 0 us")
}

func TestTablesThatAreFull(t *testing.T) {
	s := newScript(t, 2)
	for i, name := range []string{"a", "b", "c", "d", "a"} {
		s.ask(uint64(i), uint16(i), name)
		s.reply(uint64(i)+1, uint16(i), name, 0)
	}
	const who = "client 192.0.2.53:53 "
	s.expect("room for two names", who+" A: 2 asked, 2 answered, 0 timeouts, 2000 us, NOERROR 2\n"+
		who+"a A: 2 asked, 2 answered, 0 timeouts, 2000 us, NOERROR 2\n"+who+"b A: 1 asked, 1 answered, 0 timeouts, 1000 us, NOERROR 1")
	if s.full != 2 {
		t.Errorf("%d names found no room, want 2", s.full)
	}
	for id := range uint16(5) {
		s.ask(10, 100+id, "a")
	}
	if s.notWaited != 3 || s.count != 2 {
		t.Errorf("%d queries wait, %d more were too many; want 2 and 3", s.count, s.notWaited)
	}
}

// Names that nobody asks for any more make room, and begin at 0 when they come back.
func TestIdleNamesMakeRoom(t *testing.T) {
	s := newScript(t, 2)
	sampled := func(at uint64) (names []string) {
		s.expire(at * ms)
		for _, e := range s.sample(nil, s.now, nil) {
			names = append(names, fmt.Sprintf("%s %d %d %v", e.Name, e.Queries, e.Timeouts, e.Ended))
		}
		slices.Sort(names)
		return names
	}
	check := func(at uint64, want ...string) {
		t.Helper()
		if got := sampled(at); !slices.Equal(got, want) {
			t.Errorf("at %d ms: %q, want %q", at, got, want)
		}
	}
	s.ask(1, 1, "a")
	s.ask(1, 2, "b")
	s.reply(2, 2, "b", 0)
	check(10, "a 1 0 false", "b 1 0 false")
	s.ask(20000, 3, "c") // no room
	check(20000, " 1 0 false", "a 1 1 false")
	check(26000, " 1 1 false")
	check(60001)
	check(60002, "b 1 0 true")
	s.ask(70000, 4, "d")
	check(70001, "d 1 0 false")
	check(86000, " 1 1 true", "a 1 1 true", "d 1 1 false")
	s.ask(86001, 5, "b")
	check(86002, "b 1 0 false")
	if s.folded != 0 || len(s.entries) != 2 {
		t.Errorf("%d entries, %d without a name; want 2 and none", len(s.entries), s.folded)
	}
}

// However many servers there are said to be, the table stays small.
func TestFoldedEntriesAreBounded(t *testing.T) {
	s := newScript(t, 1)
	for i := range 5000 {
		at := fmt.Sprintf("10.%d.%d.1:53", i/250, i%250)
		query := build(t, uint16(i), false, fmt.Sprintf("n%d.", i), dnsmessage.Type(i), 0)
		s.packet(packet(1, client, at, out, query))
	}
	if len(s.entries) > maxFolded+2 {
		t.Errorf("%d entries", len(s.entries))
	}
	var queries uint64
	for _, e := range s.sample(nil, 0, nil) {
		queries += e.Queries
	}
	if queries != 5000 {
		t.Errorf("%d queries counted of 5000", queries)
	}
}

func TestForget(t *testing.T) {
	s := newScript(t, 100)
	s.ask(0, 1, "x")
	record, payload := packet(0, client, server, out, build(t, 1, false, "x.", dnsmessage.TypeA, 0))
	record.Target = 2
	s.packet(record, payload)
	got := s.sample(nil, 0, []uint32{1})
	s.forget(1)
	slices.SortFunc(got, func(a, b wire.DNSSample) int { return int(a.Target) - int(b.Target) })
	if len(got) != 2 || !got[0].Ended || got[0].Queries != 1 || got[1].Ended {
		t.Errorf("%+v, want both and that target 1 has ended", got)
	}
	s.expire(6000 * ms)
	got = s.sample(nil, 0, nil)
	if len(got) != 1 || got[0].Target != 2 || got[0].Timeouts != 1 || s.count != 0 {
		t.Errorf("%+v, %d waiting; want one timeout of target 2", got, s.count)
	}
}

// A sample is the reader's: what is counted afterwards does not change it.
func TestSampleIsACopy(t *testing.T) {
	s := newScript(t, 100)
	s.ask(0, 1, "x")
	s.reply(1, 1, "x", 0)
	first := s.sample(nil, 0, nil)[0]
	s.ask(2, 2, "x")
	s.reply(3, 2, "x", 0)
	if first.Codes["NOERROR"] != 1 || first.Queries != 1 || first.Latency.Buckets[wire.Bucket(1000)] != 1 {
		t.Errorf("%+v has changed", first)
	}
}

func TestRecordsOfTheRing(t *testing.T) {
	s := newScript(t, 100)
	for name, raw := range map[string][]byte{
		"short":                  make([]byte, recordLen-1),
		"more copied than there": append(slices.Concat(make([]byte, 12), []byte{100, 0, 0, 0, 100, 0, 0, 0}), make([]byte, recordLen-20)...),
	} {
		if err := s.record(raw); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	must(t, s.record(make([]byte, recordLen)))
}
