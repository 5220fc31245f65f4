//go:build linux

package nodeinfo

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is one inet_diag_msg with what is known of it (linux/inet_diag.h).
type socket struct {
	family, state, timer, retransmits uint8
	local, remote                     netip.AddrPort
	device, expires                   uint32 // expires: ms
	receiveQueue, sendQueue           uint32
	uid, inode                        uint32
	tcp                               *unix.TCPInfo
	congestion                        string
	memory                            []uint32 // SK_MEMINFO_*, linux/sock_diag.h
	mark                              uint32
}

// decode reads what the kernel sent.
func (s *socket) decode(b []byte) error {
	if len(b) < diagMessageLen {
		return fmt.Errorf("a socket is described in %d bytes, want %d", len(b), diagMessageLen)
	}
	s.family, s.state, s.timer, s.retransmits = b[0], b[1], b[2], b[3]
	s.local = netip.AddrPortFrom(diagAddress(s.family, b[8:24]), binary.BigEndian.Uint16(b[4:]))
	s.remote = netip.AddrPortFrom(diagAddress(s.family, b[24:40]), binary.BigEndian.Uint16(b[6:]))
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	s.device, s.expires, s.receiveQueue, s.sendQueue, s.uid, s.inode = word(40), word(52), word(56), word(60), word(64), word(68)
	attributes, err := parseAttributes(b[diagMessageLen:])
	if err != nil {
		return fmt.Errorf("attributes of a socket: %w", err)
	}
	for _, attribute := range attributes {
		s.attribute(attribute)
	}
	return nil
}

func diagAddress(family uint8, b []byte) netip.Addr {
	if family == unix.AF_INET6 {
		return netip.AddrFrom16([16]byte(b))
	}
	return netip.AddrFrom4([4]byte(b))
}

// minTCPInfo is how long it has been since Linux 2.6. Other protocols have none.
const minTCPInfo = 104

func (s *socket) attribute(a syscall.NetlinkRouteAttr) {
	switch a.Attr.Type {
	case diagInfo:
		if len(a.Value) >= minTCPInfo {
			s.tcp = decodeTCPInfo(a.Value)
		}
	case diagCong:
		s.congestion = unix.ByteSliceToString(a.Value)
	case diagSKMemInfo:
		for b := a.Value; len(b) >= 4; b = b[4:] {
			s.memory = append(s.memory, binary.NativeEndian.Uint32(b))
		}
	case diagMark:
		if len(a.Value) >= 4 {
			s.mark = binary.NativeEndian.Uint32(a.Value)
		}
	}
}

// decodeTCPInfo reads a struct tcp_info of this kernel, which may be shorter or
// longer than the one that is known here.
func decodeTCPInfo(b []byte) *unix.TCPInfo {
	var info unix.TCPInfo
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&info)), unsafe.Sizeof(info)), b)
	return &info
}

// stateName is that of include/net/tcp_states.h, as ss writes them.
func stateName(state uint8) string {
	names := []string{
		"", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING", "NEW-SYN-RECV",
	}
	if int(state) < len(names) && state > 0 {
		return names[state]
	}
	return fmt.Sprint(state)
}

// text is one line, and one more with the details of TCP.
func (s *socket) text(protocol string, owners owners) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-4s %-11s %-6d %-6d %s %s", protocol, stateName(s.state), s.receiveQueue, s.sendQueue, endpoint(s.local), endpoint(s.remote))
	if s.device != 0 {
		fmt.Fprintf(&b, " if%d", s.device)
	}
	if users := owners[s.inode]; s.inode != 0 && len(users) > 0 {
		b.WriteString(" users:(")
		for i, user := range users {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, "(%q,pid=%d,fd=%d)", user.comm, user.pid, user.fd)
		}
		b.WriteByte(')')
	}
	if name := timerName(s.timer); name != "" {
		fmt.Fprintf(&b, " timer:(%s,%dms,%d)", name, s.expires, s.retransmits)
	}
	fmt.Fprintf(&b, " uid:%d ino:%d", s.uid, s.inode)
	if s.mark != 0 {
		fmt.Fprintf(&b, " fwmark:0x%x", s.mark)
	}
	b.WriteString(s.memoryText())
	if s.tcp != nil && protocol == "tcp" {
		b.WriteString("\n\t" + tcpText(s.tcp, s.congestion, stateName(s.state) == "LISTEN"))
	}
	b.WriteByte('\n')
	return b.String()
}

// memoryText tells above all d, the packets that the socket dropped.
func (s *socket) memoryText() string {
	var words []string
	for i, name := range []string{"r", "rb", "t", "tb", "f", "w", "o", "bl", "d"} {
		if i < len(s.memory) {
			words = append(words, fmt.Sprint(name, s.memory[i]))
		}
	}
	if len(words) == 0 {
		return ""
	}
	return " skmem:(" + strings.Join(words, ",") + ")"
}

func endpoint(a netip.AddrPort) string {
	address, port := a.Addr().String(), fmt.Sprint(a.Port())
	if a.Addr().Is6() {
		address = "[" + address + "]"
	}
	if a.Port() == 0 {
		port = "*"
	}
	return address + ":" + port
}

// timerName is idiag_timer, as ss writes it.
func timerName(timer uint8) string {
	names := []string{"", "on", "keepalive", "timewait", "persist", "unknown"}
	return names[min(int(timer), len(names)-1)]
}

// tcpText is the second line of ss -i; times are in ms.
func tcpText(t *unix.TCPInfo, congestion string, listening bool) string {
	words := []string{orDash(congestion)}
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if listening {
		return words[0]
	}
	ms := func(microseconds uint32) float64 { return float64(microseconds) / 1000 }
	add("rto:%g rtt:%g/%g minrtt:%g", ms(t.Rto), ms(t.Rtt), ms(t.Rttvar), ms(t.Min_rtt))
	add("mss:%d pmtu:%d rcvmss:%d advmss:%d", t.Snd_mss, t.Pmtu, t.Rcv_mss, t.Advmss)
	add("cwnd:%d ssthresh:%d", t.Snd_cwnd, t.Snd_ssthresh)
	add("bytes_sent:%d bytes_retrans:%d bytes_acked:%d bytes_received:%d", t.Bytes_sent, t.Bytes_retrans, t.Bytes_acked, t.Bytes_received)
	add("segs_out:%d segs_in:%d data_segs_out:%d data_segs_in:%d", t.Segs_out, t.Segs_in, t.Data_segs_out, t.Data_segs_in)
	add("lastsnd:%d lastrcv:%d lastack:%d", t.Last_data_sent, t.Last_data_recv, t.Last_ack_recv)
	add("retrans:%d/%d lost:%d unacked:%d sacked:%d reordering:%d", t.Retrans, t.Total_retrans, t.Lost, t.Unacked, t.Sacked, t.Reordering)
	add("backoff:%d probes:%d", t.Backoff, t.Probes)
	add("pacing_rate:%dbps delivery_rate:%dbps", 8*t.Pacing_rate, 8*t.Delivery_rate)
	add("busy:%dms rwnd_limited:%dms sndbuf_limited:%dms", t.Busy_time/1000, t.Rwnd_limited/1000, t.Sndbuf_limited/1000)
	add("rcv_rtt:%g rcv_space:%d rcv_ssthresh:%d notsent:%d", ms(t.Rcv_rtt), t.Rcv_space, t.Rcv_ssthresh, t.Notsent_bytes)
	add("snd_wnd:%d rcv_wnd:%d rcv_ooopack:%d dsack_dups:%d reord_seen:%d", t.Snd_wnd, t.Rcv_wnd, t.Rcv_ooopack, t.Dsack_dups, t.Reord_seen)
	return strings.Join(words, " ")
}
