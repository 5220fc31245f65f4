//go:build linux

package linuxutil

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

// The request that both families answer in one dump, include/uapi/linux/inet_diag.h.
// The kernel walks all TCP sockets of the machine for each dump, whatever the netns:
// asking for each family would double that.
const (
	tcpDiagGetSock = 18 // TCPDIAG_GETSOCK
	diagRequestLen = 60 // struct inet_diag_req
	diagStatesAt   = 52
	allStates      = 1<<13 - 2
	diagMessageLen = 72 // struct inet_diag_msg, from family and state on
	diagStateAt    = 1
)

// sockets counts the TCP sockets of one network namespace by state.
type sockets struct {
	socket   *nl.SocketHandle
	activity uint64    // of the last count, see space.activity
	counted  time.Time // when
}

func openSockets(ns *hostns.Netns) (*sockets, error) {
	socket, err := nl.GetNetlinkSocketAt(netns.NsHandle(ns.FD()), netns.None(), unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, fmt.Errorf("socket diagnosis in netns %d: %w", ns.Ino, err)
	}
	s := &sockets{socket: &nl.SocketHandle{Socket: socket}}
	if err := socket.SetReceiveTimeout(&unix.Timeval{Sec: 10}); err != nil {
		return nil, errors.Join(fmt.Errorf("socket diagnosis in netns %d: %w", ns.Ino, err), s.Close())
	}
	return s, nil
}

// Close closes the socket.
func (s *sockets) Close() error {
	s.socket.Close()
	return nil
}

// count returns how many TCP sockets there are, IPv4 and IPv6 together, by the
// indexes of tcpStates.
func (s *sockets) count() (states [len(tcpStates)]uint64, err error) {
	request := nl.NewNetlinkRequest(tcpDiagGetSock, unix.NLM_F_DUMP)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_INET_DIAG: s.socket}
	body := make([]byte, diagRequestLen)
	body[0] = unix.AF_INET // ignored, but looked at
	binary.NativeEndian.PutUint32(body[diagStatesAt:], allStates)
	request.AddRawData(body)
	err = request.ExecuteIter(unix.NETLINK_INET_DIAG, 0, func(message []byte) bool {
		if len(message) >= diagMessageLen && int(message[diagStateAt]) < len(states) {
			states[message[diagStateAt]]++
		}
		return true
	})
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return states, fmt.Errorf("count TCP sockets: %w", err)
	}
	return states, nil
}
