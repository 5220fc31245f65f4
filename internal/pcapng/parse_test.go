package pcapng

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseInterface(t *testing.T) {
	for _, want := range []Interface{
		{LinkType: 1},
		{Name: "shop/web-1/eth0", Description: "node n1", OS: "Linux 6.18", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, SpeedBPS: 1e10, LinkType: 101, SnapLen: 96,
			Comments: []string{"a", "b"}},
	} {
		got, err := Block(want.Append(nil)).Interface()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	micro := bytes.Replace(Interface{}.Append(nil), []byte{9, 0, 1, 0, 9}, []byte{9, 0, 1, 0, 6}, 1)
	for name, b := range map[string][]byte{"other block": Section{}.Append(nil), "resolution": micro, "short": {1, 0, 0, 0, 12, 0, 0, 0, 12, 0, 0, 0}} {
		if _, err := Block(b).Interface(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestParseNames(t *testing.T) {
	want := []Name{{netip.MustParseAddr("10.0.0.1"), "a.shop"}, {netip.MustParseAddr("fd00::1"), "b"}, {netip.MustParseAddr("10.0.0.1"), "c"}}
	got, err := Block(AppendNames(nil, want)).Names()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); err != nil || diff != "" {
		t.Error(err, diff)
	}
	short := AppendNames(nil, want)
	short[10] = 0xff
	for name, b := range map[string][]byte{"other block": Section{}.Append(nil), "long record": short} {
		if _, err := Block(b).Names(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestPcapReader(t *testing.T) {
	file := AppendPcapHeader(nil, 101, 96)
	var want []Packet
	for i := range 3 {
		p := Packet(AppendEPB(nil, 0, 1_800_000_000_000_000_007+int64(i), uint32(i), 100, 0, []byte("data")))
		want, file = append(want, p), AppendPcapRecord(file, p)
	}
	r, err := NewPcapReader(bytes.NewReader(file))
	if err != nil || r.LinkType != 101 || r.SnapLen != 96 {
		t.Fatal(r, err)
	}
	for i := range want {
		if p, err := r.Next(); err != nil || !bytes.Equal(p, want[i]) {
			t.Errorf("packet %d is %x, %v", i, p, err)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	r, _ = NewPcapReader(bytes.NewReader(file[:len(file)-1]))
	for err = nil; err == nil; {
		_, err = r.Next()
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut: %v", err)
	}
	for _, b := range [][]byte{nil, Section{}.Append(nil), file[:23]} {
		if _, err := NewPcapReader(bytes.NewReader(b)); err == nil {
			t.Errorf("%x is accepted", b)
		}
	}
}

func TestAppendCut(t *testing.T) {
	data := []byte("0123456789abcdef")
	for _, flags := range []uint32{0, FlagInbound} {
		for capLen := range uint32(20) {
			p := Packet(AppendEPB(nil, 3, 5, 16, 99, flags, data))
			want := AppendEPB([]byte("before"), 3, 5, min(capLen, 16), 99, flags, data)
			if got := p.AppendCut([]byte("before"), capLen); !bytes.Equal(got, want) {
				t.Errorf("cut to %d: %x, want %x", capLen, got, want)
			}
			run := append([]byte("gone"), p...)
			if got := Packet(run[4:]).AppendCut(run[:0], capLen); !bytes.Equal(got, want[6:]) {
				t.Errorf("cut to %d in place: %x, want %x", capLen, got, want[6:])
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Interface{Name: "a", MAC: net.HardwareAddr{1, 2, 3, 4, 5, 6}}.Append(Section{}.Append(nil)))
	f.Add(AppendNames(Section{}.Append(nil), []Name{{netip.MustParseAddr("10.0.0.1"), "a"}, {netip.MustParseAddr("::1"), "b"}}))
	f.Add(AppendPcapRecord(AppendPcapHeader(nil, 1, 0), Packet(AppendEPB(nil, 0, 1, 1, 1, 0, []byte("x")))))
	f.Fuzz(func(t *testing.T, b []byte) {
		for r := NewReader(bytes.NewReader(b)); ; {
			block, err := r.Next()
			if err != nil {
				break
			}
			if i, err := block.Interface(); err == nil {
				if again, err := Block(i.Append(nil)).Interface(); err != nil || again.LinkType != i.LinkType {
					t.Errorf("%+v becomes %+v: %v", i, again, err)
				}
			}
			if names, err := block.Names(); err == nil {
				AppendNames(nil, names)
			}
		}
		r, err := NewPcapReader(bytes.NewReader(b))
		for err == nil {
			var p Packet
			if p, err = r.Next(); err == nil {
				if _, _, err := NextPacket(p); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
