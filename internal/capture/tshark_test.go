//go:build !unit

package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/tsharktest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// datagram is a packet with a UDP datagram that says text, as link type has it.
func datagram(linkType uint16, src, dst string, text string) []byte {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	udp := append([]byte{0x27, 0x0f, 0x27, 0x0f, 0, byte(8 + len(text)), 0, 0}, text...)
	ip, etherType := []byte{0x45, 0, 0, byte(20 + len(udp)), 0, 0, 0, 0, 64, 17, 0, 0}, byte(0)
	if s.Is6() {
		ip, etherType = []byte{0x60, 0, 0, 0, 0, byte(len(udp)), 17, 64}, 0xdd
	}
	ip = append(append(append(ip, s.AsSlice()...), d.AsSlice()...), udp...)
	if linkType == wire.LinkTypeRaw {
		return ip
	}
	frame := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}
	if s.Is6() {
		frame[12] = 0x86
	}
	frame[13] = etherType
	return append(frame, ip...)
}

// datagrams writes one frame of a packet per datagram, 1 us apart from timeNS on.
func (r *recording) datagrams(id uint32, timeNS int64, frames ...[]byte) *recording {
	payload := make([]byte, wire.PacketsHeaderLen)
	for i, b := range frames {
		payload = pcapng.AppendEPB(payload, id, timeNS+int64(i)*1000, uint32(len(b)), uint32(len(b)), pcapng.FlagInbound, b)
		r.captured[id]++
	}
	wire.PacketsHeader{CompleteNS: timeNS}.Put(payload)
	return r.frame(wire.KindPackets, payload)
}

func mergeToFile(t *testing.T, format Format, opts Options, sources ...Source) (string, Result) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "capture."+string(format))
	out, err := OpenOutput(t.Context(), path, nil, format)
	if err != nil {
		t.Fatal(err)
	}
	result, err := NewMerger(sources, out, opts).Run(t.Context())
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
	return path, result
}

// stockReads has all stock programs read the file, and returns what tshark and
// capinfos say of it.
func stockReads(t *testing.T, path string) (packets []string, info string) {
	t.Helper()
	fields := tsharktest.Run(t, "tshark", "-r", path, "-N", "n", "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.interface_name",
		"-e", "ip.src_host", "-e", "ip.dst_host", "-e", "ipv6.src_host", "-e", "ipv6.dst_host", "-e", "udp.payload", "-e", "frame.comment")
	packets = strings.Split(strings.TrimSuffix(fields, "\n"), "\n")
	if fields == "" {
		packets = nil
	}
	tsharktest.Run(t, "tshark", "-r", path, "-V")
	merged := filepath.Join(t.TempDir(), "merged")
	tsharktest.Run(t, "mergecap", "-w", merged, path, path)
	tsharktest.Run(t, "editcap", path, merged)
	return packets, tsharktest.Run(t, "capinfos", path)
}

func TestStockProgramsReadCapture(t *testing.T) {
	a := newRecording(2).
		datagrams(0, epoch, datagram(wire.LinkTypeEthernet, "10.244.0.5", "10.244.1.7", "one")).
		datagrams(1, epoch+3000, datagram(wire.LinkTypeRaw, "fd00::5", "fd00::7", "three")).
		end(wire.EndStop, 4)
	b := newRecording(1).
		datagrams(0, epoch+1000, datagram(wire.LinkTypeEthernet, "10.244.0.5", "10.244.1.7", "two")).
		end(wire.EndStop)
	sa, sb := a.source("n1"), b.source("n2")
	long := strings.Repeat("n", 63) + "/" + strings.Repeat("p", 253) + "/eth0"
	sa.Interfaces[0].MAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	sa.Interfaces[0].OS = "Linux 6.18.4"
	sa.Interfaces[1].LinkType = wire.LinkTypeRaw
	sb.Interfaces[0].Name = long
	opts := Options{
		Section: pcapng.Section{Application: "kubectl-retina v1.0.0", OS: "linux", Hardware: "amd64"},
		Names: []pcapng.Name{
			{Addr: netip.MustParseAddr("10.244.0.5"), Name: "web-1.shop"},
			{Addr: netip.MustParseAddr("fd00::7"), Name: "web-2.shop"},
			{Addr: netip.MustParseAddr("10.244.1.7"), Name: strings.Repeat("long.", 60) + "shop"},
		},
	}
	path, result := mergeToFile(t, Pcapng, opts, sa, sb)
	packets, info := stockReads(t, path)
	if !result.Complete || result.Packets != 3 || result.Lost != 4 {
		t.Errorf("result is %+v", result)
	}
	want := []string{
		"1800000000.000000000\tshop/web-n1/eth0\tweb-1.shop\tlong.long.",
		"1800000000.000001000\t" + long + "\tweb-1.shop\tlong.long.",
		"1800000000.000003000\tshop/web-n1/eth1\t\t\tfd00::5\tweb-2.shop\t7468726565\t",
	}
	if len(packets) != len(want) {
		t.Fatalf("tshark reads %q", packets)
	}
	for i := range want {
		if !strings.HasPrefix(packets[i], want[i]) {
			t.Errorf("packet %d is\n%s, want\n%s", i, packets[i], want[i])
		}
	}
	for _, want := range []string{
		"Strict time order:   True\n", "Number of packets:   3\n", "File encapsulation:  Per packet\n", "Capture application: kubectl-retina v1.0.0\n",
		"Number of interfaces in file: 3\n", "Name = " + long + "\n", "Description = node n2\n", "Operating system = Linux 6.18.4\n",
		"Encapsulation = Raw IP (7 - rawip)\n", "Number of resolved IPv4 addresses in file: 2\n", "Number of resolved IPv6 addresses in file: 1\n",
	} {
		if !strings.Contains(info, want) {
			t.Errorf("capinfos does not say %q:\n%s", want, info)
		}
	}
	if strings.Count(info, "Number of stat entries = 1\n") != 3 || strings.Contains(info, "Section 1") || strings.Contains(info, "incomplete") {
		t.Errorf("capinfos says:\n%s", info)
	}
}

func TestStockProgramsReadEmptyCapture(t *testing.T) {
	path, _ := mergeToFile(t, Pcapng, Options{}, newRecording(1).end(wire.EndStop).source("n1"))
	packets, info := stockReads(t, path)
	if len(packets) != 0 || !strings.Contains(info, "Number of packets:   0\n") {
		t.Errorf("packets %q, capinfos:\n%s", packets, info)
	}
}

// A user who opens the file with a stock program sees that it is not all.
func TestStockProgramsShowIncompleteCapture(t *testing.T) {
	cut := newRecording(1).datagrams(0, epoch, datagram(wire.LinkTypeEthernet, "10.0.0.1", "10.0.0.2", "one")).source("n1")
	whole := newRecording(1).datagrams(0, epoch+1000, datagram(wire.LinkTypeEthernet, "10.0.0.1", "10.0.0.2", "two")).end(wire.EndStop).source("n2")
	ended := make(chan struct{})
	whole.Frames = waiting{ended, whole.Frames}
	path, result := mergeToFile(t, Pcapng, Options{Ended: func(source int, _ error) {
		if source == 0 {
			close(ended)
		}
	}}, cut, whole)
	if result.Complete {
		t.Errorf("result is %+v", result)
	}
	packets, info := stockReads(t, path)
	if want := "Capture comment:     incomplete: node n1: no end frame: stream was cut\n"; !strings.Contains(info, want) {
		t.Errorf("capinfos does not say %q:\n%s", want, info)
	}
	if want := "packets are missing from here on: node n1: no end frame: stream was cut"; len(packets) != 2 || !strings.HasSuffix(packets[1], want) {
		t.Errorf("tshark does not say %q: %q", want, packets)
	}
	if got := tsharktest.Run(t, "tcpdump", "-n", "-r", path); strings.Count(got, "\n") != 2 {
		t.Errorf("tcpdump reads\n%s", got)
	}
}

func TestStockProgramsReadPcap(t *testing.T) {
	source := newRecording(1).datagrams(0, epoch+7,
		datagram(wire.LinkTypeRaw, "10.0.0.1", "10.0.0.2", "one"), datagram(wire.LinkTypeRaw, "fd00::1", "fd00::2", "two")).end(wire.EndStop).source("n1")
	source.Interfaces[0].LinkType = wire.LinkTypeRaw
	path, _ := mergeToFile(t, Pcap, Options{}, source)
	packets, info := stockReads(t, path)
	if len(packets) != 2 || !strings.HasPrefix(packets[1], "1800000000.000001007\t") || !strings.Contains(info, "File type:           Wireshark/tcpdump/... - nanosecond pcap\n") {
		t.Errorf("packets %q, capinfos:\n%s", packets, info)
	}
	if got := tsharktest.Run(t, "tcpdump", "-n", "-r", path); !strings.Contains(got, "IP 10.0.0.1.9999 > 10.0.0.2.9999") || !strings.Contains(got, "IP6 fd00::1.9999 > fd00::2.9999") {
		t.Errorf("tcpdump reads\n%s", got)
	}
}

// While a capture runs, tshark on the other end of a pipe shows its packets,
// and when tshark has had enough the capture ends.
func TestTsharkReadsLive(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	tshark := exec.Command("tshark", "-l", "-n", "-c", "1", "-r", "-", "-T", "fields", "-e", "udp.payload")
	tshark.Stdin = r
	var stdout bytes.Buffer
	tshark.Stdout = &stdout
	if err := tshark.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close() // tshark has its own
	output := make(chan string, 1)
	go func() {
		err := tshark.Wait()
		output <- fmt.Sprintf("%s%v", stdout.String(), err)
	}()
	ctx, cancel := context.WithCancelCause(t.Context())
	stuck := time.AfterFunc(time.Minute, func() { cancel(errors.New("tshark shows nothing")) })
	defer stuck.Stop()
	first := newRecording(1).datagrams(0, epoch, datagram(wire.LinkTypeEthernet, "10.0.0.1", "10.0.0.2", "live")).packets(epoch + 1)
	source := first.source("n1")
	source.Frames = &then{source.Frames, &flow{ctx: ctx, shown: output}}
	out, err := OpenOutput(t.Context(), Stdout, w, Pcapng)
	if err != nil {
		t.Fatal(err)
	}
	stops := 0
	result, err := NewMerger([]Source{source}, out, Options{Stop: func() { stops++; cancel(nil) }}).Run(t.Context())
	if !errors.Is(err, ErrReaderClosed) || stops != 1 {
		t.Errorf("error %v, stopped %d times, %d packets", err, stops, result.Packets)
	}
}

// flow is a FrameReader that, once tshark has shown the first packet and ended,
// brings packets until ctx is done.
type flow struct {
	ctx   context.Context
	shown <-chan string
	got   string
}

func (f *flow) ReadFrame([]byte) (wire.Kind, []byte, error) {
	if f.got == "" {
		select {
		case f.got = <-f.shown:
		case <-f.ctx.Done():
		}
	}
	if f.ctx.Err() != nil || f.got != "6c697665\n<nil>" {
		return 0, nil, fmt.Errorf("tshark showed %q: %w", f.got, wire.ErrCut)
	}
	payload := make([]byte, wire.PacketsHeaderLen)
	wire.PacketsHeader{CompleteNS: epoch + 5}.Put(payload)
	return wire.KindPackets, pcapng.AppendEPB(payload, 0, epoch+3, 4, 4, 0, []byte("next")), nil
}

// On a disk that fills up, as a user has it, the file is valid and honest.
func TestFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"mount", "-t", "tmpfs", "-o", "size=256k", "retina-test", dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s(mounting needs root; the unit tests run without: -tags unit)", args, err, out)
		}
	}
	defer func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	}()
	a, n := newRecording(1), 0
	for i := range 100 {
		var frames [][]byte
		for range 50 {
			frames = append(frames, datagram(wire.LinkTypeEthernet, "10.0.0.1", "10.0.0.2", fmt.Sprintf("%0100d", n)))
			n++
		}
		a.datagrams(0, epoch+int64(i)*100_000, frames...)
	}
	path := filepath.Join(dir, "x.pcapng")
	out, err := OpenOutput(t.Context(), path, nil, Pcapng)
	if err != nil {
		t.Fatal(err)
	}
	result, err := NewMerger([]Source{a.end(wire.EndStop).source("n1")}, out, Options{}).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Fatalf("error is %v", err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	checkResult(t, result, readFile(t, b))
	if result.Packets == 0 || result.Packets+result.Lost != uint64(n) || result.Complete || len(b) < 240<<10 {
		t.Errorf("%d of %d packets, %d lost, complete %v, %d bytes", result.Packets, n, result.Lost, result.Complete, len(b))
	}
	packets, info := stockReads(t, path)
	if len(packets) != int(result.Packets) {
		t.Errorf("tshark reads %d packets of %d", len(packets), result.Packets)
	}
	if want := fmt.Sprintf("Capture comment:     incomplete: %d packets were not written: ", result.Lost); !strings.Contains(info, want) {
		t.Errorf("capinfos does not say %q:\n%s", want, info)
	}
}
