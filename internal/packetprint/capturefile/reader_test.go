package capturefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
)

// at is the time of the tests' packets.
const at = 1_800_000_000_123_456_789

// all reads a file to its end, and returns its items as text.
func all(t testing.TB, b []byte) (items []string, err error) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for {
		item, err := r.Next()
		switch item := item.(type) {
		case *Section:
			items = append(items, fmt.Sprintf("section %q %q", item.Application, item.Comments))
		case *Interface:
			items = append(items, fmt.Sprintf("interface %d %q %q link %d snap %d", item.ID, item.Name, item.Description, item.LinkType, item.SnapLen))
		case Names:
			items = append(items, fmt.Sprint("names ", item))
		case *Packet:
			ns := item.Time.UnixNano()
			if item.Time.IsZero() {
				ns = -1
			}
			items = append(items, fmt.Sprintf("packet %d %d %q of %d %t %t", item.Interface, ns, item.Data, item.WireLen, item.Inbound, item.Outbound))
		}
		if err != nil {
			return items, err
		}
	}
}

// ours is a file as this project writes it, with a second section.
func ours() []byte {
	b := pcapng.Section{Application: "kubectl-retina 1", Comments: []string{"one", "two"}}.Append(nil)
	b = pcapng.Interface{Name: "shop/web-1/eth0", Description: "node n1, pod shop/web-1", LinkType: 1, SnapLen: 96}.Append(b)
	b = pcapng.Interface{Name: "n1/wg0", LinkType: 101}.Append(b)
	b = pcapng.AppendNames(b, []pcapng.Name{{Addr: netip.MustParseAddr("10.0.0.1"), Name: "web-1.shop"}, {Addr: netip.MustParseAddr("fd00::1"), Name: "n1"}})
	b = pcapng.AppendEPB(b, 0, at, 3, 9, pcapng.FlagInbound, []byte("abc"))
	b = pcapng.AppendEPB(b, 1, at+1, 4, 4, pcapng.FlagOutbound, []byte("defg"))
	b = pcapng.Statistics{TimeNS: at}.Append(b)
	return pcapng.Section{Comments: []string{"incomplete: why"}}.Append(b)
}

func TestOurs(t *testing.T) {
	got, err := all(t, ours())
	want := []string{
		`section "kubectl-retina 1" ["one" "two"]`,
		`interface 0 "shop/web-1/eth0" "node n1, pod shop/web-1" link 1 snap 96`,
		`interface 1 "n1/wg0" "" link 101 snap 0`,
		`names [{10.0.0.1 web-1.shop} {fd00::1 n1}]`,
		`packet 0 1800000000123456789 "abc" of 9 true false`,
		`packet 1 1800000000123456790 "defg" of 4 false true`,
		`section "" ["incomplete: why"]`,
	}
	if !errors.Is(err, io.EOF) || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\n%v, want\n%s", strings.Join(got, "\n"), err, strings.Join(want, "\n"))
	}
}

// Files that another library has written.
func TestForeign(t *testing.T) {
	var ng bytes.Buffer
	w, err := pcapgo.NewNgWriterInterface(&ng, pcapgo.NgInterface{Name: "en0", LinkType: layers.LinkTypeEthernet, SnapLength: 100},
		pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "other"}})
	if err != nil {
		t.Fatal(err)
	}
	info := gopacket.CaptureInfo{Timestamp: time.Unix(0, at), CaptureLength: 3, Length: 7}
	if err := errors.Join(w.WritePacket(info, []byte("abc")), w.Flush()); err != nil {
		t.Fatal(err)
	}
	var us, ns bytes.Buffer
	for _, w := range []*pcapgo.Writer{pcapgo.NewWriter(&us), pcapgo.NewWriterNanos(&ns)} {
		if err := errors.Join(w.WriteFileHeader(100, layers.LinkTypeEthernet), w.WritePacket(info, []byte("abc"))); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		file []byte
		want []string
	}{
		{"pcapng", ng.Bytes(), []string{`section "other" []`, `interface 0 "en0" "" link 1 snap 100`, `packet 0 1800000000123456789 "abc" of 7 false false`}},
		{"pcap", us.Bytes(), []string{`interface 0 "" "" link 1 snap 100`, `packet 0 1800000000123456000 "abc" of 7 false false`}},
		{"pcap in ns", ns.Bytes(), []string{`interface 0 "" "" link 1 snap 100`, `packet 0 1800000000123456789 "abc" of 7 false false`}},
		{"big-endian pcap", bigPcap(), []string{`interface 0 "" "" link 101 snap 64`, `packet 0 1800000000000005000 "abcd" of 6 false false`}},
		{"big-endian pcapng", bigPcapng(), []string{
			`section "sun" []`, `interface 0 "le0" "" link 1 snap 2`, `names [{10.0.0.1 a} {10.0.0.1 b}]`,
			`packet 0 10500000000 "abc" of 5 true false`, `packet 0 10500000000 "ab" of 2 false false`, `packet 0 -1 "ab" of 3 false false`,
		}},
	}
	for _, test := range tests {
		got, err := all(t, test.file)
		if !errors.Is(err, io.EOF) || strings.Join(got, "\n") != strings.Join(test.want, "\n") {
			t.Errorf("%s: %s\n%v, want\n%s", test.name, strings.Join(got, "\n"), err, strings.Join(test.want, "\n"))
		}
	}
}

func bigPcap() []byte {
	var b []byte
	for _, n := range []uint32{magicUS, 2<<16 | 4, 0, 0, 64, 0x10000000 | 101, 1_800_000_000, 5, 4, 6} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return append(b, "abcd"...)
}

// bigPcapng has blocks that gopacket's writer does not know: a block of another
// kind, an Enhanced, an obsolete and a Simple Packet Block, in 1/16 s from 10 s.
func bigPcapng() []byte {
	block := func(typ uint32, body string) string {
		for len(body)%4 != 0 {
			body += "\x00"
		}
		var b []byte
		b = binary.BigEndian.AppendUint32(b, typ)
		b = binary.BigEndian.AppendUint32(b, uint32(len(body)+12))
		b = append(b, body...)
		return string(binary.BigEndian.AppendUint32(b, uint32(len(body)+12)))
	}
	const ff = "\xff\xff\xff\xff\xff\xff\xff\xff"
	return []byte(block(typeSection, "\x1a\x2b\x3c\x4d\x00\x01\x00\x00"+ff+"\x00\x04\x00\x03sun\x00") +
		block(typeInterface, "\x00\x01\x00\x00\x00\x00\x00\x02"+"\x00\x02\x00\x03le0\x00"+"\x00\x09\x00\x01\x84\x00\x00\x00"+"\x00\x0e\x00\x08\x00\x00\x00\x00\x00\x00\x00\x0a") +
		block(0xbad, "xxxx") +
		block(typeNames, "\x00\x01\x00\x08\x0a\x00\x00\x01a\x00b\x00\x00\x00\x00\x00") +
		block(typePacket, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x03\x00\x00\x00\x05abc\x00"+"\x00\x02\x00\x04\x00\x00\x00\x01") +
		block(typeObsolete, "\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x02\x00\x00\x00\x02ab") +
		block(typeSimple, "\x00\x00\x00\x03abc"))
}

// A file that ends anywhere says so, unless it ends between two blocks.
func TestCut(t *testing.T) {
	for _, file := range [][]byte{ours(), bigPcap(), bigPcapng()} {
		whole, _ := all(t, file)
		for n := range file {
			got, err := all(t, file[:n])
			switch {
			case n < 4 && errors.Is(err, ErrFormat):
			case n >= 4 && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)):
			default:
				t.Errorf("%d of %d bytes: %v", n, len(file), err)
			}
			if len(got) >= len(whole) {
				t.Errorf("%d of %d bytes have all items", n, len(file))
			}
		}
	}
}

func TestDamaged(t *testing.T) {
	change := func(b []byte, at int, value byte) []byte {
		b = bytes.Clone(b)
		b[at] = value
		return b
	}
	iface := pcapng.Interface{LinkType: 1}.Append(pcapng.Section{}.Append(nil))
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"no file", []byte("hello world"), "neither pcapng nor pcap: begins with 68656c6c"},
		{"byte order", change(ours(), 8, 0), "byte order"},
		{"section version", change(ours(), 12, 9), "version 9"},
		{"block length", change(ours(), 4, 0x21), "bytes long"},
		{"long block", change(ours(), 7, 0x7f), "bytes long"},
		{"second length", change(iface, 24, 77), "ends with"},
		{"pcap version", change(bigPcap(), 5, 3), "version 3"},
		{"pcap packet length", change(bigPcap(), 32, 0x7f), "captured"},
		{"no such interface", pcapng.AppendEPB(bytes.Clone(iface), 7, 1, 1, 1, 0, []byte{1}), "interface 7 of 1"},
		{"time unit", bytes.Replace(iface, []byte{9, 0, 1, 0, 9}, []byte{9, 0, 1, 0, 20}, 1), "unit"},
	}
	for _, test := range tests {
		if _, err := all(t, test.file); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, file := range [][]byte{ours(), bigPcap(), bigPcapng()} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		items, err := all(t, file)
		if err == nil || len(items) > len(file)/8 {
			t.Errorf("%d items in %d bytes: %v", len(items), len(file), err)
		}
	})
}
