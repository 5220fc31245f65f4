//go:build !unit

package pcapng

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/tsharktest"
)

// udp4 is an IPv4 packet with a UDP datagram from 10.0.0.1:7 to 10.0.0.2:7.
func udp4(payload string) []byte {
	length := byte(28 + len(payload))
	ip := []byte{0x45, 0, 0, length, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 7, 0, 7, 0, length - 20, 0, 0}
	return append(ip, payload...)
}

func ethernet(ip []byte) []byte {
	return append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}, ip...)
}

func write(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWiresharkReadsPcapng(t *testing.T) {
	const at = 1_800_000_000_123_456_789
	file := Section{Application: "kubectl-retina 1", OS: "Linux 6.18", Hardware: "arm64", Comments: []string{"first comment"}}.Append(nil)
	file = Interface{Name: "shop/web-1/eth0", Description: "node n1, container web", OS: "Linux 6.1", LinkType: 1, SnapLen: 262144,
		MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, SpeedBPS: 10e9, Comments: []string{"interface comment"}}.Append(file)
	file = Interface{Name: "shop/" + strings.Repeat("x", 250) + "/tun0", LinkType: 101}.Append(file)
	file = AppendNames(file, []Name{
		{netip.MustParseAddr("10.0.0.1"), "web-1.shop"},
		{netip.MustParseAddr("fd00::2"), "web-2." + strings.Repeat("y", 250)},
	})
	frame := ethernet(udp4("hello"))
	file = AppendEPB(file, 0, at, uint32(len(frame)), uint32(len(frame)), FlagInbound, frame)
	file = AppendEPB(file, 1, at+1, 33, 33, FlagOutbound, udp4("world"))
	file = AppendEPBVLAN(file, 0, at+2, uint32(len(frame)), uint32(len(frame)), FlagInbound, frame, 0x8100, 42)
	file = AppendEPB(file, 0, at+3, 20, uint32(len(frame)), 0, frame)
	file = Packet(AppendEPB(nil, 1, at+4, 33, 33, FlagInbound, udp4("again"))).AppendCommented(file, "a comment")
	file = Statistics{Interface: 0, TimeNS: at + 5, StartNS: at, EndNS: at + 5, Comments: []string{"c"},
		Counts: []Count{{IfRecv, 4}, {IfDrop, 1}, {FilterAccept, 4}, {OSDrop, 0}, {UsrDeliv, 3}}}.Append(file)
	file = Section{Comments: []string{"incomplete: because"}}.Append(file)
	path := write(t, file)

	got := tsharktest.Run(t, "tshark", "-r", path, "-N", "n", "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.interface_id",
		"-e", "frame.interface_name", "-e", "frame.packet_flags_direction", "-e", "frame.cap_len", "-e", "frame.len",
		"-e", "ip.src_host", "-e", "vlan.id", "-e", "frame.comment", "-e", "udp.payload")
	long := "shop/" + strings.Repeat("x", 250) + "/tun0"
	want := strings.Join([]string{
		"1800000000.123456789\t0\tshop/web-1/eth0\t0x00000001\t47\t47\tweb-1.shop\t\t\t68656c6c6f",
		"1800000000.123456790\t1\t" + long + "\t0x00000002\t33\t33\tweb-1.shop\t\t\t776f726c64",
		"1800000000.123456791\t0\tshop/web-1/eth0\t0x00000001\t51\t51\tweb-1.shop\t42\t\t68656c6c6f",
		"1800000000.123456792\t0\tshop/web-1/eth0\t\t20\t47\t\t\t\t",
		"1800000000.123456793\t1\t" + long + "\t0x00000001\t33\t33\tweb-1.shop\t\ta comment\t616761696e",
	}, "\n") + "\n"
	if got != want {
		t.Errorf("tshark reads\n%s, want\n%s", got, want)
	}
	info := tsharktest.Run(t, "capinfos", path)
	for _, want := range []string{
		"Number of packets:   5\n", "Strict time order:   True\n", "File timestamp precision:  nanoseconds (9)\n",
		"Capture hardware:    arm64\n", "Capture oper-sys:    Linux 6.18\n", "Capture application: kubectl-retina 1\n",
		"Capture comment:     first comment\n", "Capture comment:     incomplete: because\n",
		"Name = shop/web-1/eth0\n", "Description = node n1, container web\n", "Speed = 10000000000\n",
		"Operating system = Linux 6.1\n", "Number of stat entries = 1\n", "Number of resolved IPv4 addresses in file: 1\n",
		"Number of resolved IPv6 addresses in file: 1\n",
	} {
		if !strings.Contains(info, want) {
			t.Errorf("capinfos does not say %q:\n%s", want, info)
		}
	}
}

func TestWiresharkAndTcpdumpReadPcap(t *testing.T) {
	const at = 1_800_000_000_123_456_789
	file := AppendPcapHeader(nil, 101, 262144)
	for i, payload := range []string{"hello", "world"} {
		p := Packet(AppendEPB(nil, 3, at+int64(i), 33, 33, FlagInbound, udp4(payload)))
		before := len(file)
		if file = AppendPcapRecord(file, p); len(file)-before != 16+33 {
			t.Errorf("record of %d bytes", len(file)-before)
		}
	}
	path := write(t, file)
	got := tsharktest.Run(t, "tshark", "-r", path, "-T", "fields", "-e", "frame.time_epoch", "-e", "ip.dst", "-e", "frame.len")
	if want := "1800000000.123456789\t10.0.0.2\t33\n1800000000.123456790\t10.0.0.2\t33\n"; got != want {
		t.Errorf("tshark reads\n%s, want\n%s", got, want)
	}
	if got := tsharktest.Run(t, "tcpdump", "-n", "-r", path); strings.Count(got, "10.0.0.1.7 > 10.0.0.2.7") != 2 {
		t.Errorf("tcpdump reads\n%s", got)
	}
}
