//go:build linux && !unit

package dropreason

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
)

// TestDeliveredPacketsAreNoDrops has connections and datagrams end as they do every
// day: with a FIN that nobody reads, and with datagrams that nobody has read yet.
func TestDeliveredPacketsAreNoDrops(t *testing.T) {
	for name, o := range map[string]options{"as the kernel": {}, "without reasons": {arguments: 2}} {
		t.Run(name, func(t *testing.T) { deliver(t, o) })
	}
}

func deliver(t *testing.T, o options) {
	pod := vethtest.NewPod(t)
	b := measure(t, scope.Options{}, o, podTarget(pod))
	for _, c := range []struct {
		client, server *hostns.Netns
		at             string
	}{
		{pod.Netns, pod.Peer, "192.0.2.2:6001"}, {pod.Peer, pod.Netns, "192.0.2.1:6001"},
		{pod.Netns, pod.Peer, "[2001:db8::2]:6001"}, {pod.Peer, pod.Netns, "[2001:db8::1]:6001"},
	} {
		for range 3 {
			converse(t, c.client, c.server, c.at)
		}
		leaveUnread(t, c.client, c.server, c.at)
	}
	time.Sleep(50 * time.Millisecond)
	b.fold(t)
	for d, total := range b.drops {
		if d.Source.Port() == 6001 || d.Destination.Port() == 6001 {
			t.Errorf("%d packets as %+v", total.Packets, d)
		}
	}
}

// TestAnswersToPingsAreNoDrops pings as root does, by a raw socket: it gets a copy, and
// the kernel frees the packet because no ping socket wants it.
func TestAnswersToPingsAreNoDrops(t *testing.T) {
	for _, version := range []struct {
		network, to   string
		request       []byte
		answer        byte
		firstToTellIt string // the kernel that has a reason for it
	}{
		{"ip4:icmp", "192.0.2.2", []byte{8, 0, 0xf7, 0xfe, 0, 1, 0, 0}, 0, "5.18"},
		{"ip6:ipv6-icmp", "2001:db8::2", []byte{128, 0, 0, 0, 0, 0, 0, 0}, 129, "6.3"}, // the kernel writes the checksum
	} {
		t.Run(version.network, func(t *testing.T) {
			vethtest.NeedKernel(t, version.firstToTellIt, "a reason for it")
			pod := vethtest.NewPod(t)
			b := measure(t, scope.Options{}, options{}, podTarget(pod))
			var socket net.PacketConn
			vethtest.Must(t, pod.Netns.Do(func() (err error) {
				socket, err = net.ListenPacket(version.network, "")
				return err
			}))
			defer socket.Close()
			for range 3 {
				_, err := socket.WriteTo(version.request, &net.IPAddr{IP: net.ParseIP(version.to)})
				vethtest.Must(t, err)
				awaitICMP(t, socket, version.answer)
			}
			time.Sleep(50 * time.Millisecond)
			b.fold(t)
			for d, total := range b.drops {
				if d.Protocol == 1 || d.Protocol == 58 {
					t.Errorf("%d packets as %+v", total.Packets, d)
				}
			}
		})
	}
}

// awaitICMP reads up to a message of this type: there are neighbours' too.
func awaitICMP(t *testing.T, socket net.PacketConn, wanted byte) {
	t.Helper()
	vethtest.Must(t, socket.SetReadDeadline(time.Now().Add(10*time.Second)))
	got := make([]byte, 64)
	for n := 0; n < 8 || got[0] != wanted; {
		var err error
		n, _, err = socket.ReadFrom(got)
		vethtest.Must(t, err)
	}
}

// converse opens a connection, whose client closes it first.
func converse(t *testing.T, client, server *hostns.Netns, at string) {
	t.Helper()
	var listener net.Listener
	vethtest.Must(t, server.Do(func() (err error) {
		listener, err = net.Listen("tcp", at)
		return err
	}))
	defer listener.Close()
	var conn net.Conn
	vethtest.Must(t, client.Do(func() (err error) {
		conn, err = net.Dial("tcp", at)
		return err
	}))
	accepted, err := listener.Accept()
	vethtest.Must(t, err)
	_, err = conn.Write([]byte("0123456789"))
	vethtest.Must(t, err)
	_, err = io.ReadFull(accepted, make([]byte, 10))
	vethtest.Must(t, err)
	vethtest.Must(t, conn.Close())
	_, err = accepted.Read(make([]byte, 1))
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	vethtest.Must(t, accepted.Close())
}

// leaveUnread closes a socket that has datagrams.
func leaveUnread(t *testing.T, client, server *hostns.Netns, at string) {
	t.Helper()
	var to net.PacketConn
	vethtest.Must(t, server.Do(func() (err error) {
		to, err = net.ListenPacket("udp", at)
		return err
	}))
	send(t, client, netip.MustParseAddrPort("[::]:0"), netip.MustParseAddrPort(at), 3)
	vethtest.Must(t, to.Close())
}
