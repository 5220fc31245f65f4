package pcapng

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBlocksAndOptions(t *testing.T) {
	var file []byte
	file = Section{Application: "kubectl-retina", OS: "Linux 6.18", Hardware: "amd64", Comments: []string{"a", "b"}}.Append(file)
	file = Interface{Name: "shop/web-1/eth0", Description: "node n1", OS: "Linux", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		SpeedBPS: 10e9, LinkType: 1, SnapLen: 96}.Append(file)
	file = Interface{LinkType: 101}.Append(file)
	file = AppendNames(file, []Name{{netip.MustParseAddr("10.0.0.1"), "web-1.shop"}})
	file = AppendEPB(file, 0, 3, 4, 4, FlagInbound, []byte("data"))
	file = Statistics{Interface: 1, TimeNS: 9, StartNS: 1<<32 + 7, EndNS: 9, Counts: []Count{{IfRecv, 3}, {IfDrop, 2}, {UsrDeliv, 1}}, Comments: []string{"c"}}.Append(file)
	file = Section{}.Append(file)

	type block struct {
		Type    uint32
		Options []Option
	}
	u64 := func(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
	want := []block{
		{TypeSection, []Option{{1, []byte("a")}, {1, []byte("b")}, {2, []byte("amd64")}, {3, []byte("Linux 6.18")}, {4, []byte("kubectl-retina")}}},
		{TypeInterface, []Option{{2, []byte("shop/web-1/eth0")}, {3, []byte("node n1")}, {6, []byte{2, 0, 0, 0, 0, 1}}, {8, u64(10e9)}, {9, []byte{9}}, {12, []byte("Linux")}}},
		{TypeInterface, []Option{{9, []byte{9}}}},
		{TypeNames, nil},
		{TypePacket, []Option{{2, []byte{1, 0, 0, 0}}}},
		{TypeStatistics, []Option{{1, []byte("c")}, {2, []byte{1, 0, 0, 0, 7, 0, 0, 0}}, {3, []byte{0, 0, 0, 0, 9, 0, 0, 0}}, {4, u64(3)}, {5, u64(2)}, {8, u64(1)}}},
		{TypeSection, nil},
	}
	var got []block
	r := NewReader(bytes.NewReader(file))
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		options, err := b.Options()
		if err != nil {
			t.Fatalf("block of type %#x: %v", b.Type(), err)
		}
		for i := range options {
			options[i].Value = bytes.Clone(options[i].Value)
		}
		got = append(got, block{b.Type(), options})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("blocks differ (-want +got):\n%s", diff)
	}
}

func TestTextIsBounded(t *testing.T) {
	long := strings.Repeat("é", 70000)
	b := Block(Section{Comments: []string{long, "a\x1b[2Jb\x00\xff"}}.Append(nil))
	options, err := b.Options()
	if err != nil || len(options) != 2 {
		t.Fatalf("%d options, %v", len(options), err)
	}
	if n := len(options[0].Value); n > 65535 || n%2 != 0 || n < 65000 {
		t.Errorf("text of 140000 bytes was cut to %d", n)
	}
	if got := string(options[1].Value); got != "a\uFFFD[2Jb\uFFFD\uFFFD" {
		t.Errorf("control characters became %q", got)
	}
}

func TestAppendNames(t *testing.T) {
	if b := AppendNames(nil, nil); len(b) != 0 {
		t.Errorf("no names make %d bytes", len(b))
	}
	if b := AppendNames(nil, []Name{{netip.Addr{}, "x"}, {netip.MustParseAddr("::1"), ""}}); len(b) != 0 {
		t.Errorf("names without an address or a name make %d bytes", len(b))
	}
	// Section 4.5: the record, its padding, the end of records.
	b := AppendNames(nil, []Name{{netip.MustParseAddr("::ffff:10.0.0.1"), "web"}})
	want := []byte{4, 0, 0, 0, 28, 0, 0, 0, 1, 0, 8, 0, 10, 0, 0, 1, 'w', 'e', 'b', 0, 0, 0, 0, 0, 28, 0, 0, 0}
	if !bytes.Equal(b, want) {
		t.Errorf("block is\n%x, want\n%x", b, want)
	}
	// Many names: several blocks, none longer than a reader takes.
	var names []Name
	for i := range 5000 {
		addr := netip.AddrFrom16([16]byte{0xfd, 14: byte(i >> 8), 15: byte(i)})
		names = append(names, Name{addr, strings.Repeat("n", 300)})
	}
	file := AppendNames(Section{}.Append(nil), names)
	r, blocks := NewReader(bytes.NewReader(file)), 0
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > maxNamesLen+512 {
			t.Errorf("block of %d bytes", len(b))
		}
		blocks++
	}
	if blocks < 20 {
		t.Errorf("%d blocks", blocks)
	}
}

func TestReaderRefuses(t *testing.T) {
	section := Section{}.Append(nil)
	damaged := func(offset int, v uint32) []byte {
		b := bytes.Clone(section)
		binary.LittleEndian.PutUint32(b[offset:], v)
		return b
	}
	tests := []struct {
		name string
		file []byte
		want error // nil: any
	}{
		{"empty", nil, io.EOF},
		{"half a header", section[:5], io.ErrUnexpectedEOF},
		{"half a block", section[:20], io.ErrUnexpectedEOF},
		{"no section header", Interface{}.Append(nil), nil},
		{"big-endian", damaged(8, 0x4d3c2b1a), nil},
		{"other version", damaged(12, 2), nil},
		{"length below the least", damaged(4, 8), nil},
		{"huge length", damaged(4, 1<<31), nil},
		{"odd length", damaged(4, 29), nil},
		{"lengths differ", damaged(24, 24), nil},
		{"section of 12 bytes", []byte{10, 13, 13, 10, 12, 0, 0, 0, 12, 0, 0, 0}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewReader(bytes.NewReader(tt.file)).Next()
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || tt.want == nil && errors.Is(err, io.EOF) {
				t.Errorf("error is %v, want %v", err, tt.want)
			}
		})
	}
}

func FuzzReader(f *testing.F) {
	file := Interface{Name: "a", LinkType: 1}.Append(Section{Comments: []string{"c"}}.Append(nil))
	file = AppendNames(file, []Name{{netip.MustParseAddr("::1"), "x"}})
	file = AppendEPB(file, 0, 3, 4, 4, FlagInbound, []byte("data"))
	f.Add(Statistics{Counts: []Count{{IfRecv, 3}}}.Append(file))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, read := NewReader(bytes.NewReader(file)), 0
		for {
			b, err := r.Next()
			if err != nil {
				return
			}
			if read += len(b); read > len(file) || !bytes.Equal(b, file[read-len(b):read]) {
				t.Fatalf("block of %d bytes is not what is before offset %d", len(b), read)
			}
			options, _ := b.Options()
			for _, o := range options {
				if len(o.Value) > len(b) {
					t.Fatalf("option of %d bytes in a block of %d", len(o.Value), len(b))
				}
			}
			if p, err := b.Packet(); err == nil && len(p.Data()) > len(b) {
				t.Fatalf("data of %d bytes in a block of %d", len(p.Data()), len(b))
			}
		}
	})
}
