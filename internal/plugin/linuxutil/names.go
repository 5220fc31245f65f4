//go:build linux

package linuxutil

import (
	"bytes"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetforward/linkstats"
)

// Groups of a wire.StatSample.
const (
	groupTCP       = "tcp"
	groupUDP       = "udp"
	groupIP        = "ip"
	groupSocket    = "socket"
	groupInterface = "interface"
	groupConntrack = "conntrack"
)

// section is where the numbers of a section of /proc/net/snmp or netstat belong.
// Names in it get the prefix, as nstat(8) has it, where they would not be unique
// in their group without.
type section struct{ group, prefix string }

var sections = map[string]section{
	"Ip":       {groupIP, ""},
	"IpExt":    {groupIP, ""},
	"Icmp":     {groupIP, "Icmp"},
	"IcmpMsg":  {groupIP, "Icmp"},
	"Tcp":      {groupTCP, ""},
	"TcpExt":   {groupTCP, ""},
	"MPTcpExt": {groupTCP, "MPTcpExt"},
	"Udp":      {groupUDP, ""},
	"UdpLite":  {groupUDP, "UdpLite"},
}

// settings are in /proc/net/snmp, but no measurements.
var settings = map[string]bool{
	"Forwarding": true, "DefaultTTL": true, "RtoAlgorithm": true, "RtoMin": true, "RtoMax": true, "MaxConn": true,
}

// gauges are the only ones in /proc/net/snmp and netstat.
var gauges = map[string]bool{"CurrEstab": true, "MPCurrEstab": true}

// groupOfSNMP6 is the group of a name in /proc/net/snmp6, or "".
func groupOfSNMP6(name []byte) string {
	switch {
	case bytes.HasPrefix(name, []byte("Ip6")), bytes.HasPrefix(name, []byte("Icmp6")):
		return groupIP
	case bytes.HasPrefix(name, []byte("Udp6")), bytes.HasPrefix(name, []byte("UdpLite6")):
		return groupUDP
	}
	return ""
}

// isOfAllNetns tells which numbers of sockstat are of the whole machine, whoever
// asks (net/ipv4/proc.c): a pod has no part in them.
func isOfAllNetns(section, name []byte) bool {
	switch string(section) {
	case "TCP":
		return string(name) == "orphan" || string(name) == "alloc" || string(name) == "mem"
	case "UDP":
		return string(name) == "mem"
	}
	return false
}

// tcpStates are the names in include/net/tcp_states.h, by number. NEW_SYN_RECV, the
// number after these, is shown as SYN_RECV by the kernel itself.
var tcpStates = [...]string{
	1: "TCP_ESTABLISHED", "TCP_SYN_SENT", "TCP_SYN_RECV", "TCP_FIN_WAIT1", "TCP_FIN_WAIT2", "TCP_TIME_WAIT",
	"TCP_CLOSE", "TCP_CLOSE_WAIT", "TCP_LAST_ACK", "TCP_LISTEN", "TCP_CLOSING",
}

// linkNames are the names in /sys/class/net/IFNAME/statistics. Packets and bytes are
// the packetforward plugin's.
var linkNames = map[int]string{
	linkstats.RxErrors: "rx_errors", linkstats.TxErrors: "tx_errors",
	linkstats.RxDropped: "rx_dropped", linkstats.TxDropped: "tx_dropped",
	linkstats.Multicast: "multicast", linkstats.Collisions: "collisions",
	linkstats.RxLengthErrors: "rx_length_errors", linkstats.RxOverErrors: "rx_over_errors", linkstats.RxCRCErrors: "rx_crc_errors",
	linkstats.RxFrameErrors: "rx_frame_errors", linkstats.RxFIFOErrors: "rx_fifo_errors", linkstats.RxMissedErrors: "rx_missed_errors",
	linkstats.TxAbortedErrors: "tx_aborted_errors", linkstats.TxCarrierErrors: "tx_carrier_errors", linkstats.TxFIFOErrors: "tx_fifo_errors",
	linkstats.TxHeartbeatErrors: "tx_heartbeat_errors", linkstats.TxWindowErrors: "tx_window_errors",
	linkstats.RxNoHandler: "rx_nohandler",
}

// isLinkName tells whether name is in linkNames.
func isLinkName(name string) bool {
	for _, known := range linkNames {
		if name == known {
			return true
		}
	}
	return false
}

// isTrouble tells which of a driver's own counters, as `ethtool -S` shows them, are
// about packets that were not delivered.
func isTrouble(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"err", "drop", "discard", "miss", "timeout"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
