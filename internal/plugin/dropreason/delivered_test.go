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
	vethtest.NeedKernel(t, "5.18", "a reason for it")
	pod := vethtest.NewPod(t)
	b := measure(t, scope.Options{}, options{}, podTarget(pod))
	for network, to := range map[string]string{"ip4:icmp": "192.0.2.2", "ip6:ipv6-icmp": "2001:db8::2"} {
		var socket net.PacketConn
		vethtest.Must(t, pod.Netns.Do(func() (err error) {
			socket, err = net.ListenPacket(network, "")
			return err
		}))
		defer socket.Close()
		request, answer := []byte{8, 0, 0xf7, 0xfe, 0, 1, 0, 0}, byte(0)
		if network != "ip4:icmp" {
			request, answer = []byte{128, 0, 0, 0, 0, 0, 0, 0}, 129 // the kernel writes the checksum
		}
		for range 3 {
			_, err := socket.WriteTo(request, &net.IPAddr{IP: net.ParseIP(to)})
			vethtest.Must(t, err)
			vethtest.Must(t, socket.SetReadDeadline(time.Now().Add(10*time.Second)))
			for got := make([]byte, 64); ; { // there are neighbours' packets too
				n, _, err := socket.ReadFrom(got)
				vethtest.Must(t, err)
				if n >= 8 && got[0] == answer {
					break
				}
			}
		}
	}
	time.Sleep(50 * time.Millisecond)
	b.fold(t)
	for d, total := range b.drops {
		if d.Protocol == 1 || d.Protocol == 58 {
			t.Errorf("%d packets as %+v", total.Packets, d)
		}
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
