//go:build linux

package nodeinfo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// diagRequest is a struct inet_diag_req_v2 for all sockets of a protocol
// (linux/inet_diag.h).
type diagRequest struct {
	family, protocol, extensions uint8
	states                       uint32
}

const (
	diagRequestLen = 56 // with the inet_diag_sockid, which stays zero: any
	diagMessageLen = 72 // struct inet_diag_msg
)

// Len implements nl.NetlinkRequestData.
func (diagRequest) Len() int { return diagRequestLen }

// Serialize implements nl.NetlinkRequestData.
func (r diagRequest) Serialize() []byte {
	b := make([]byte, diagRequestLen)
	b[0], b[1], b[2] = r.family, r.protocol, r.extensions
	binary.NativeEndian.PutUint32(b[4:], r.states)
	return b
}

// Attributes of an inet_diag_msg, and the extensions that ask for them, whose
// bit is the number less one (linux/inet_diag.h).
const (
	diagInfo      = 2
	diagCong      = 4
	diagSKMemInfo = 7
	diagMark      = 15 // comes unasked
)

const (
	diagExtensions = 1<<(diagInfo-1) | 1<<(diagCong-1) | 1<<(diagSKMemInfo-1)
	everyState     = ^uint32(0)
)

// writeSockets asks the kernel for sockets one by one, so that a node with a
// million of them costs no memory.
func writeSockets(_ context.Context, s *scope, r *recorder) error {
	f, err := r.create("sockets.txt", "ss -tuwanpioem (unix, packet and netlink sockets: proc-net/unix, packet, netlink)\n"+
		"# netid state recv-q send-q local peer users uid inode")
	if err != nil {
		return err
	}
	var errs []error
	for _, protocol := range []struct {
		name   string
		number uint8
	}{{"tcp", unix.IPPROTO_TCP}, {"udp", unix.IPPROTO_UDP}, {"raw", unix.IPPROTO_RAW}} {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			request := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
			request.AddData(diagRequest{family: family, protocol: protocol.number, extensions: diagExtensions, states: everyState})
			var failed error
			err := request.ExecuteIter(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY, func(message []byte) bool {
				var socket socket
				if failed = socket.decode(message); failed == nil {
					_, failed = f.Write([]byte(socket.text(protocol.name, s.owners)))
				}
				return failed == nil
			})
			if failed != nil {
				return failed
			}
			// Kernels come without raw_diag; proc-net/raw has those sockets too.
			if complete(err) != nil && (protocol.name != "raw" || !errors.Is(err, unix.ENOENT)) {
				errs = append(errs, fmt.Errorf("list %s sockets: %w", protocol.name, err))
			}
		}
	}
	return errors.Join(errs...)
}
