package packetprint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

const where = "15:04:05.123456 shop/web-1/eth0 Out "

// printerOn has one interface, of a pod.
func printerOn(w io.Writer, format Format, linkType uint16) *Printer {
	p := New(w, Options{Format: format, Names: names, Location: time.UTC})
	p.SetInterface(0, Interface{Name: "shop/web-1/eth0", Pod: "shop/web-1", Node: "n1", LinkType: linkType})
	return p
}

// printed prints samples as one capture.
func printed(t testing.TB, format Format, all []sample) []string {
	t.Helper()
	var out bytes.Buffer
	p := printerOn(&out, format, linkEthernet)
	var lines []string
	for _, s := range all {
		linkType := uint16(linkEthernet)
		if s.linkType != 0 {
			linkType = s.linkType
		}
		p.SetInterface(0, Interface{Name: "shop/web-1/eth0", Pod: "shop/web-1", Node: "n1", LinkType: linkType})
		if err := p.Write(0, began(), s.wireLen, Out, s.data); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, out.String())
		out.Reset()
	}
	return lines
}

func TestLines(t *testing.T) {
	for _, all := range [][]sample{handshake(t), dnsSamples(t), otherSamples(t), brokenSamples(t)} {
		for i, got := range printed(t, Line, all) {
			if want := where + all[i].want + "\n"; got != want {
				t.Errorf("%s:\n%s, want\n%s", all[i].name, got, want)
			}
		}
	}
}

// Every beginning of every packet is printed that can cut a header, without control characters.
func TestCutAnywhere(t *testing.T) {
	for _, s := range slices.Concat(handshake(t), dnsSamples(t), otherSamples(t)) {
		for n := range min(len(s.data), 200) {
			cut := sample{data: s.data[:n], wireLen: len(s.data), linkType: s.linkType}
			for _, format := range []Format{Line, Full, JSON} {
				checkClean(t, format, printed(t, format, []sample{cut})[0])
			}
		}
	}
}

// checkClean checks that output is one line or more, of printable text.
func checkClean(t testing.TB, format Format, text string) {
	t.Helper()
	lines := strings.Count(text, "\n")
	if !strings.HasSuffix(text, "\n") || format != Full && lines != 1 {
		t.Errorf("%s: %q is not one line", format, text)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0x202e }); i >= 0 {
		t.Errorf("%s: control character in %q", format, text)
	}
	if format == JSON && !json.Valid([]byte(text)) {
		t.Errorf("not JSON: %q", text)
	}
}

func TestMidStream(t *testing.T) {
	segments := handshake(t)[3:5]
	got := printed(t, Line, segments)
	for i, want := range []string{"seq 1:40, ack 1,", "seq 1:27, ack 40,"} {
		if !strings.Contains(got[i], want) {
			t.Errorf("%s has no %q", got[i], want)
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	s := newStreams()
	busy := netip.MustParseAddrPort("10.0.0.1:1")
	at := func(n int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), uint16(n>>16)+2)
	}
	s.relative(&TCP{RawSeq: 100}, 0, busy, at(1<<20), true, false)
	for n := range 5 * maxStreams {
		s.relative(&TCP{RawSeq: 7}, 0, at(n), busy, true, false)
		if n%1000 == 0 {
			segment := TCP{RawSeq: 150}
			if s.relative(&segment, 0, busy, at(1<<20), false, false); segment.Seq != 50 {
				t.Fatalf("after %d connections the busy one counts from another number: %d", n, segment.Seq)
			}
		}
	}
	if len(s.young) > maxStreams || len(s.old) > maxStreams {
		t.Errorf("%d and %d connections are remembered", len(s.young), len(s.old))
	}
	other := TCP{RawSeq: 150}
	if s.relative(&other, 1, busy, at(1<<20), false, false); other.Seq != 1 {
		t.Errorf("another interface's connection has number %d", other.Seq)
	}
}

func TestFull(t *testing.T) {
	got := printed(t, Full, otherSamples(t)[2:3])[0]
	want := where + `vlan 42, IP shop/client.1 > shop/web-1.2: UDP, length 3
	Ethernet  02:00:00:00:00:01 > 02:00:00:00:00:02, type VLAN (0x8100), 14 bytes
	VLAN      id 42, priority 0, type IPv4 (0x0800), 4 bytes
	IPv4      10.0.0.1 > 10.0.0.2, UDP, ttl 64, tos 0x0, id 7, flags [], offset 0, length 31, header 20 bytes
	UDP       1 > 2, length 11, checksum 0x2770
	0x0000:  0200 0000 0002 0200 0000 0001 8100 002a  ...............*
	0x0010:  0800 4500 001f 0007 0000 4011 66c5 0a00  ..E.......@.f...
	0x0020:  0001 0a00 0002 0001 0002 000b 2770 6162  ............'pab
	0x0030:  6300 0000 0000 0000 0000 0000            c...........
`
	if got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
}

func TestJSON(t *testing.T) {
	const head = `{"time":"2026-11-22T15:04:05.123456789Z","interface":"shop/web-1/eth0","pod":"shop/web-1","node":"n1","direction":"egress",`
	const frame = `"ethernet":{"source":"02:00:00:00:00:01","destination":"02:00:00:00:00:02","type":"0x0800"},`
	tests := map[string]string{
		"request": head + `"length":93,"captured":93,` + frame + `"protocol":"TCP","source":{"address":"10.0.0.1","port":41552,"name":"shop/client"},` +
			`"destination":{"address":"10.96.0.7","port":80,"name":"svc shop/web"},"info":"Flags [P.], seq 1:40, ack 1, win 64240, length 39: HTTP: GET /a?b=1 HTTP/1.1",` +
			`"ip":{"version":4,"ttl":64,"id":7},"tcp":{"flags":"P.","seq":1,"ack":1,"rawSeq":124,"rawAck":4294967291,"window":64240,"length":39},` +
			`"http":{"method":"GET","target":"/a?b=1","host":"web.shop","version":"HTTP/1.1"}}`,
		"answers": head + `"length":104,"captured":104,` + frame + `"protocol":"UDP","source":{"address":"10.0.0.1","port":53,"name":"shop/client"},` +
			`"destination":{"address":"10.0.0.2","port":40000,"name":"shop/web-1"},"info":"1234- 2/0/0 CNAME a.shop.svc., A 10.0.0.1 (62)",` +
			`"ip":{"version":4,"ttl":64,"id":7},"udp":{"length":62},"dns":{"id":1234,"response":true,"code":"NOERROR","questions":[{"name":"web.shop.svc.","type":"A"}],` +
			`"answers":[{"name":"web.shop.svc.","type":"CNAME","ttl":5,"data":"a.shop.svc."},{"name":"a.shop.svc.","type":"A","ttl":5,"data":"10.0.0.1"}]}}`,
		"ClientHello": `"tls":{"message":"ClientHello","version":"TLS 1.3","sni":"a.b","alpn":["h2"]}}`,
		"ARP request": `"arp":{"operation":"request","senderMAC":"02:00:00:00:00:01","targetMAC":"00:00:00:00:00:00"}}`,
		"ping":        `"icmp":{"type":8,"code":0,"id":5,"seq":6}}`,
		"VXLAN":       `"inner":{"protocol":"UDP","source":{"address":"10.0.0.1","port":1,"name":"shop/client"},"destination":{"address":"10.0.0.2","port":2,"name":"shop/web-1"},"info":"UDP, length 3","ip":{"version":4,"ttl":64,"id":7},"udp":{"length":3}}}`,
		"cut in TCP":  `"info":"[|tcp]","truncated":true,`,
		"IP version":  `"info":"[version 5]","malformed":"version 5"}`,
	}
	for _, all := range [][]sample{handshake(t), dnsSamples(t), otherSamples(t), brokenSamples(t)} {
		for i, got := range printed(t, JSON, all) {
			want, ok := tests[all[i].name]
			if delete(tests, all[i].name); ok && !strings.Contains(got, want) {
				t.Errorf("%s:\n%s has no\n%s", all[i].name, got, want)
			}
		}
	}
	for name := range tests {
		t.Errorf("no packet %q", name)
	}
}

func TestDirections(t *testing.T) {
	var out bytes.Buffer
	p := printerOn(&out, Line, linkEthernet)
	for _, direction := range []Direction{In, Out, Unknown} {
		if err := p.Write(0, began(), 0, direction, nil); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.ReplaceAll("@In  [|ether]\n@Out [|ether]\n@[|ether]\n", "@", "15:04:05.123456 shop/web-1/eth0 ")
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestErrors(t *testing.T) {
	p := printerOn(brokenWriter{}, Line, linkEthernet)
	if err := p.Write(0, began(), 0, In, nil); !errors.Is(err, errBroken) {
		t.Errorf("output: %v", err)
	}
	if err := p.Write(1, began(), 0, In, nil); err == nil || !strings.Contains(err.Error(), "interface 1") {
		t.Errorf("interface: %v", err)
	}
}

// Names come from the cluster or from a file.
func TestNamesAreUntrusted(t *testing.T) {
	var out bytes.Buffer
	p := New(&out, Options{Names: func(netip.Addr) string { return "a\x1b[31m\nb" + strings.Repeat("x", 1000) }})
	p.SetInterface(3, Interface{Name: "e\x1b[2J\n", LinkType: linkEthernet})
	if err := p.Write(3, began(), 0, In, otherSamples(t)[0].data); err != nil {
		t.Fatal(err)
	}
	checkClean(t, Line, out.String())
	if out.Len() > 2*maxName+200 || !strings.Contains(out.String(), " e[2J ") {
		t.Errorf("%d bytes: %s", out.Len(), out.String())
	}
}

func FuzzPrinter(f *testing.F) {
	for _, s := range slices.Concat(handshake(f), dnsSamples(f), otherSamples(f), brokenSamples(f)) {
		f.Add(s.linkType, s.wireLen, s.data)
	}
	f.Fuzz(func(t *testing.T, linkType uint16, wireLen int, data []byte) {
		for _, format := range []Format{Line, Full, JSON} {
			s := sample{linkType: linkType, wireLen: min(wireLen, 1<<32), data: data}
			for _, text := range printed(t, format, []sample{s, s}) {
				checkClean(t, format, text)
				if limit := 16<<10 + 10*len(data); len(text) > limit+len(data)*100 {
					t.Errorf("%s: %d bytes of %d: %s", format, len(text), len(data), fmt.Sprintf("%.1000s", text))
				}
			}
		}
	})
}
