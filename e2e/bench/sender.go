//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
	"unsafe"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"
)

const (
	// frameLen is the length of the flood's Ethernet frames: the shortest that
	// Ethernet has, its checksum aside.
	frameLen = 64
	batch    = 64 // frames in one system call
)

// flood sends frames from the pod as fast as it can for a while, and returns how
// many were sent and how long that took. They are UDP, go out through a packet
// socket, which costs less than half of a UDP socket, and are dropped by the
// other end because they are addressed to somebody else: as much as possible of
// the time is that of the veth and of who captures there.
func (p *pod) flood(ctx context.Context, d time.Duration) (sent uint64, took time.Duration, err error) {
	var socket int
	err = p.processes[0].netns.Do(func() (err error) { socket, err = packetSocket("eth0"); return err })
	if err != nil {
		return 0, 0, fmt.Errorf("flood: %w", err)
	}
	defer unix.Close(socket)
	frame, err := newFrame()
	if err != nil {
		return 0, 0, err
	}
	messages := make([]message, batch)
	for i := range messages {
		messages[i].header.Iov = &unix.Iovec{Base: &frame[0], Len: uint64(len(frame))}
		messages[i].header.Iovlen = 1
	}
	start := time.Now()
	for took < d && ctx.Err() == nil {
		n, err := sendmmsg(socket, messages)
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return sent, took, fmt.Errorf("flood: sendmmsg: %w", err)
		}
		sent += uint64(n)
		took = time.Since(start)
	}
	return sent, took, ctx.Err()
}

// packetSocket opens a socket (packet(7)) that sends frames and receives none.
func packetSocket(name string) (int, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return -1, err
	}
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Bind(socket, &unix.SockaddrLinklayer{Ifindex: link.Index}); err != nil {
		unix.Close(socket)
		return -1, err
	}
	return socket, nil
}

// newFrame returns a UDP packet to a MAC address that nobody has.
func newFrame() ([]byte, error) {
	ethernet := &layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4,
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
	udp := &layers.UDP{SrcPort: 4000, DstPort: 9}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	payload := gopacket.Payload(make([]byte, frameLen-14-20-8)) // without the headers of Ethernet, IPv4 and UDP
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ethernet, ip, udp, payload)
	return buf.Bytes(), err
}

// A message is struct mmsghdr of sendmmsg(2).
type message struct {
	header unix.Msghdr
	length uint32
}

// sendmmsg sends messages and returns how many.
func sendmmsg(socket int, messages []message) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(socket), uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
