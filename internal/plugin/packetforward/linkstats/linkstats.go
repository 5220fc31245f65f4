//go:build linux

// Package linkstats reads the kernel's own counters of all interfaces of a
// network namespace by netlink: one small message for each interface, from a
// socket that stays open.
package linkstats

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

// The message and its one attribute, include/uapi/linux/if_link.h.
const (
	headerLen    = 12 // struct if_stats_msg
	ifindexAt    = 4
	attributeLen = 4 // struct nlattr, without its value
	attribute    = 1 // IFLA_STATS_LINK_64
	filter       = 1 << (attribute - 1)
)

// Indexes of Stats: the fields of struct rtnl_link_stats64, in their order.
const (
	RxPackets = iota
	TxPackets
	RxBytes
	TxBytes
	RxErrors
	TxErrors
	RxDropped
	TxDropped
	Multicast
	Collisions
	RxLengthErrors
	RxOverErrors
	RxCRCErrors
	RxFrameErrors
	RxFIFOErrors
	RxMissedErrors
	TxAbortedErrors
	TxCarrierErrors
	TxFIFOErrors
	TxHeartbeatErrors
	TxWindowErrors
	RxCompressed
	TxCompressed
	RxNoHandler // Linux 4.6
	NumStats
)

// Stats are the counters of one interface since it was made, by the indexes
// above. What this kernel does not have is 0.
type Stats [NumStats]uint64

// A Reader reads the counters of one network namespace, which it keeps alive
// until Close. It is not safe for concurrent use.
type Reader struct {
	ino    uint64
	socket *nl.SocketHandle
}

// Open prepares for reading the counters of ns, which may be closed afterwards.
func Open(ns *hostns.Netns) (*Reader, error) {
	socket, err := nl.GetNetlinkSocketAt(netns.NsHandle(ns.FD()), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink in netns %d: %w", ns.Ino, err)
	}
	r := &Reader{ino: ns.Ino, socket: &nl.SocketHandle{Socket: socket}}
	if err := socket.SetReceiveTimeout(&unix.Timeval{Sec: 10}); err != nil {
		return nil, errors.Join(fmt.Errorf("netlink in netns %d: %w", ns.Ino, err), r.Close())
	}
	return r, nil
}

// Close closes the socket.
func (r *Reader) Close() error {
	r.socket.Close()
	return nil
}

// Read returns the counters of each interface there is, by ifindex. Should
// interfaces come or go meanwhile, some may be missing.
func (r *Reader) Read() (map[int]Stats, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETSTATS, unix.NLM_F_DUMP)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: r.socket}
	header := make([]byte, headerLen)
	binary.NativeEndian.PutUint32(header[8:], filter)
	request.AddRawData(header)
	all := make(map[int]Stats)
	err := request.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWSTATS, func(message []byte) bool {
		if ifindex, stats, ok := parse(message); ok {
			all[ifindex] = stats
		}
		return true
	})
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("read interface counters of netns %d: %w", r.ino, err)
	}
	return all, nil
}

// parse reads one message. A kernel may have more fields than we know, or fewer.
func parse(message []byte) (ifindex int, stats Stats, ok bool) {
	if len(message) < headerLen {
		return 0, stats, false
	}
	ifindex = int(int32(binary.NativeEndian.Uint32(message[ifindexAt:])))
	for rest := message[headerLen:]; len(rest) >= attributeLen; {
		length := int(binary.NativeEndian.Uint16(rest))
		if length < attributeLen || length > len(rest) {
			return 0, stats, false
		}
		if binary.NativeEndian.Uint16(rest[2:]) == attribute {
			value := rest[attributeLen:length]
			for i := 0; i < NumStats && len(value) >= 8; i, value = i+1, value[8:] {
				stats[i] = binary.NativeEndian.Uint64(value)
			}
			return ifindex, stats, true
		}
		rest = rest[min((length+3)&^3, len(rest)):]
	}
	return 0, stats, false
}
