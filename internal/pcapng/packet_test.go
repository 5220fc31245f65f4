package pcapng

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

func TestAppendEPB(t *testing.T) {
	data := []byte("0123456789abcdefghij")
	tests := []struct {
		name               string
		capLen, wireLen    uint32
		flags              uint32
		wantData           string
		wantWire, wantSize int
	}{
		{"whole", 20, 20, FlagInbound, "0123456789abcdefghij", 20, 64},
		{"cut, padded", 5, 1500, FlagOutbound, "01234", 1500, 52},
		{"no flags", 8, 9, 0, "01234567", 9, 40},
		{"nothing captured", 0, 60, 0, "", 60, 32},
		{"more than there is", 99, 99, 0, "0123456789abcdefghij", 99, 52},
		{"longer than the packet", 20, 3, 0, "0123456789abcdefghij", 20, 52},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := []byte("before")
			b := AppendEPB(slices.Clone(before), 7, 1_800_000_000_123_456_789, tt.capLen, tt.wireLen, tt.flags, data)
			if !bytes.HasPrefix(b, before) {
				t.Fatalf("what was there is now %q", b[:6])
			}
			p, rest, err := NextPacket(b[6:])
			if err != nil {
				t.Fatal(err)
			}
			if len(rest) != 0 || len(p) != tt.wantSize {
				t.Errorf("block has %d bytes and %d are left, want %d and 0", len(p), len(rest), tt.wantSize)
			}
			if p.Interface() != 7 || p.TimeNS() != 1_800_000_000_123_456_789 || p.Flags() != tt.flags {
				t.Errorf("interface %d, time %d, flags %d", p.Interface(), p.TimeNS(), p.Flags())
			}
			if string(p.Data()) != tt.wantData || int(p.WireLen()) != tt.wantWire {
				t.Errorf("data %q of %d, want %q of %d", p.Data(), p.WireLen(), tt.wantData, tt.wantWire)
			}
		})
	}
}

// Padding comes from memory that was used before.
func TestAppendEPBClearsPadding(t *testing.T) {
	dirty := bytes.Repeat([]byte{0xff}, 128)
	b := AppendEPB(dirty[:0], 0, 0, 1, 1, FlagInbound, []byte{0xaa})
	if got := b[epbHeaderLen : epbHeaderLen+4]; !bytes.Equal(got, []byte{0xaa, 0, 0, 0}) {
		t.Errorf("data and padding are %x", got)
	}
}

func TestAppendEPBVLAN(t *testing.T) {
	frame := append([]byte("ddddddssssss"), 0x08, 0x00, 'I', 'P')
	tests := []struct {
		name   string
		capLen uint32
		want   string
	}{
		{"whole", 16, "ddddddssssss\x81\x00\x20\x05\x08\x00IP"},
		{"addresses only", 12, "ddddddssssss\x81\x00\x20\x05"},
		{"cut within the addresses", 8, "ddddddss"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, _, err := NextPacket(AppendEPBVLAN(nil, 1, 2, tt.capLen, 16, FlagInbound, frame, 0x8100, 0x2005))
			if err != nil {
				t.Fatal(err)
			}
			if string(p.Data()) != tt.want || p.WireLen() != 20 {
				t.Errorf("data %q of %d, want %q of 20", p.Data(), p.WireLen(), tt.want)
			}
		})
	}
	long := make([]byte, MaxPacketLen)
	p, _, err := NextPacket(AppendEPBVLAN(nil, 1, 2, MaxPacketLen, MaxPacketLen, 0, long, 0x8100, 1))
	if err != nil || p.CapLen() != MaxPacketLen || p.WireLen() != MaxPacketLen+4 {
		t.Errorf("longest packet: %d of %d, %v", p.CapLen(), p.WireLen(), err)
	}
}

func TestPacketPathDoesNotAllocate(t *testing.T) {
	buf, data := make([]byte, 0, 4096), make([]byte, 1500)
	allocs := testing.AllocsPerRun(100, func() {
		b := AppendEPB(buf[:0], 1, 2, 1500, 1500, FlagInbound, data)
		b = AppendEPBVLAN(b, 1, 2, 1500, 1500, FlagInbound, data, 0x8100, 5)
		for len(b) > 0 {
			p, rest, err := NextPacket(b)
			if err != nil {
				t.Fatal(err)
			}
			p.SetInterface(p.Interface() + 1)
			p.SetTimeNS(p.TimeNS() + 1)
			b = rest
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestSetInPlace(t *testing.T) {
	p := Packet(AppendEPB(nil, 1, 2, 4, 4, FlagOutbound, []byte("data")))
	p.SetInterface(0xfffffffe)
	p.SetTimeNS(1<<62 + 5)
	if p.Interface() != 0xfffffffe || p.TimeNS() != 1<<62+5 || string(p.Data()) != "data" || p.Flags() != FlagOutbound {
		t.Errorf("packet is %x", []byte(p))
	}
	p.SetTimeNS(-5)
	if p.TimeNS() != 0 {
		t.Errorf("time before 1970 is %d", p.TimeNS())
	}
}

func TestAppendCommented(t *testing.T) {
	for _, flags := range []uint32{0, FlagInbound} {
		p := Packet(AppendEPB(nil, 1, 2, 5, 5, flags, []byte("hello")))
		b := p.AppendCommented(nil, "node n2 is gone")
		again, rest, err := NextPacket(b)
		if err != nil || len(rest) != 0 {
			t.Fatalf("flags %d: %v, %d bytes left", flags, err, len(rest))
		}
		if string(again.Data()) != "hello" || again.Flags() != flags {
			t.Errorf("packet is now %q with flags %d", again.Data(), again.Flags())
		}
		options, err := Block(b).Options()
		if err != nil || len(options) == 0 || options[0].Code != OptComment || string(options[0].Value) != "node n2 is gone" {
			t.Errorf("options %v, %v", options, err)
		}
	}
}

func TestNextPacketRefuses(t *testing.T) {
	put32 := func(offset int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[offset:], v); return b }
	}
	tests := []struct {
		name   string
		damage func([]byte) []byte
	}{
		{"nothing", func([]byte) []byte { return nil }},
		{"cut", func(b []byte) []byte { return b[:len(b)-4] }},
		{"other type", put32(0, TypeInterface)},
		{"length 0", put32(4, 0)},
		{"length not a multiple of 4", put32(4, 50)},
		{"length over the end", put32(4, 56)},
		{"huge length", put32(4, 0xfffffffc)},
		{"second length differs", put32(48, 48)},
		{"more data than block", put32(20, 24)},
		{"huge data", put32(20, 0xffffffff)},
		{"longer than on the wire", put32(24, 7)},
		{"time out of range", put32(12, 1<<31)},
		{"flags of 8 bytes", put32(36, 8<<16|2)},
		{"unknown option", put32(36, 4<<16|2989)},
		{"option over the end", put32(36, 60000<<16|1)},
		{"end of options with a value", put32(44, 4<<16)},
		{"end of options too early", put32(36, 0)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := AppendEPB(nil, 1, 2, 8, 8, FlagInbound, []byte("12345678"))
			if _, _, err := NextPacket(slices.Clone(b)); err != nil || len(b) != 52 {
				t.Fatalf("before the damage: %d bytes, %v", len(b), err)
			}
			if p, _, err := NextPacket(tt.damage(b)); err == nil {
				t.Errorf("accepted as %x", []byte(p))
			}
		})
	}
}

// What NextPacket accepts must be safe to use and mean the same when it is
// written again.
func FuzzNextPacket(f *testing.F) {
	f.Add(AppendEPB(nil, 1, 2, 5, 60, FlagInbound, []byte("hello")))
	f.Add(AppendEPB(AppendEPB(nil, 1, 2, 0, 0, 0, nil), 9, 1<<61, 4, 4, 0, []byte("more")))
	f.Add(Packet(AppendEPB(nil, 1, 2, 5, 60, FlagInbound, []byte("hello"))).AppendCommented(nil, "x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		for rest := b; len(rest) > 0; {
			p, next, err := NextPacket(rest)
			if err != nil {
				break
			}
			total += len(p)
			if len(p)+len(next) != len(rest) {
				t.Fatalf("%d and %d bytes of %d", len(p), len(next), len(rest))
			}
			again, _, err := NextPacket(AppendEPB(nil, p.Interface(), p.TimeNS(), p.CapLen(), p.WireLen(), p.Flags(), p.Data()))
			if err != nil || !bytes.Equal(again.Data(), p.Data()) || again.TimeNS() != p.TimeNS() || again.WireLen() != p.WireLen() ||
				again.Interface() != p.Interface() || again.Flags() != p.Flags() {
				t.Fatalf("%x became %x, %v", []byte(p), []byte(again), err)
			}
			if _, _, err := NextPacket(p.AppendCommented(nil, "comment")); err != nil {
				t.Fatalf("commented: %v", err)
			}
			rest = next
		}
		if total > len(b) {
			t.Fatalf("%d bytes of %d", total, len(b))
		}
	})
}
