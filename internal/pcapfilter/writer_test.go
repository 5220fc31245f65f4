package pcapfilter_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// writer makes up expressions. With the same seed they are the same.
type writer struct{ *rand.Rand }

func (w writer) one(of ...string) string { return of[w.IntN(len(of))] }

// expression is a valid one most of the time.
func (w writer) expression(depth int) string {
	if depth == 0 || w.IntN(4) == 0 {
		return w.primitive()
	}
	switch w.IntN(8) {
	case 0:
		return w.one("not ", "! ") + w.expression(depth-1)
	case 1:
		return "not (" + w.expression(depth-1) + ")"
	case 2, 3:
		return "(" + w.expression(depth-1) + ")" + w.one(" and ", " or ", " && ", " || ") + "(" + w.expression(depth-1) + ")"
	}
	return w.expression(depth-1) + w.one(" and ", " or ") + w.expression(depth-1)
}

func (w writer) primitive() string {
	direction := w.one("", "", "", "src ", "dst ", "src or dst ", "src and dst ")
	port := func() string { return w.one("80", "443", "53", "22", "http", "domain", "0x50", "1024") }
	address := func() string { return w.one(addresses4...) }
	switch w.IntN(16) {
	case 0, 1:
		return w.one("", "", "ip ", "arp ") + direction + "host " + address()
	case 2:
		return direction + "host " + w.one(addresses6...)
	case 3:
		return direction + "net " + w.one("10.1.0.0/16", "10", "192.168", "172.16.0.0/12", "2001:db8::/32", "0.0.0.0/0", "10.1.2.0/25")
	case 4, 5:
		return w.one("", "tcp ", "udp ", "sctp ") + direction + "port " + port()
	case 6:
		return w.one("tcp ", "udp ", "") + direction + "portrange " + w.one("80-443", "1-1023", "8000-8080", "ftp-ssh")
	case 7:
		return w.one("tcp ", "") + direction + "port " + port() + w.one(" or ", " and not ") + port()
	case 8:
		return w.one("ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "ah", "esp", "pim", "iso", "stp", "ipx", "l1", "isis", "atalk", "aarp", "llc", "vrrp")
	case 9:
		return w.one("ip proto 6", "ip proto \\udp", "ip6 proto 58", "proto 17", "ether proto \\ip", "ether proto 0x86dd", "ether proto 5", "iso proto 0x83")
	case 10:
		return w.one("vlan", "vlan 100", "mpls", "mpls 5", "pppoes", "pppoes 5", "geneve", "geneve 5", "pppoed", "vlan 200")
	case 11:
		return w.one("less ", "greater ") + fmt.Sprint(w.IntN(200))
	case 12:
		return w.one("broadcast", "multicast", "ip multicast", "ip6 multicast", "ip broadcast")
	case 13:
		return "ether " + w.one("", "src ", "dst ") + w.one("host ", "") + w.one("02:42:ac:11:00:02", "ff-ff-ff-ff-ff-ff", "0242.ac11.0003")
	}
	return w.math(2) + w.one(" = ", " != ", " > ", " < ", " >= ", " <= ", " == ") + w.math(1)
}

func (w writer) math(depth int) string {
	if depth == 0 {
		switch w.IntN(4) {
		case 0:
			return fmt.Sprint(w.IntN(300))
		case 1:
			return w.one("0xff", "017", "tcp-syn", "len", "icmp-echo", "0x0a010203", "4294967295")
		}
		return w.one("ip", "ip6", "tcp", "udp", "icmp", "icmp6", "ether", "arp", "sctp") + "[" + w.one("0", "1", "6", "9", "12", "13", "tcpflags", "0:2", "2:2", "4:4", "12:4", "20") + "]"
	}
	switch w.IntN(7) {
	case 0:
		return w.math(0)
	case 1:
		return "(" + w.math(depth-1) + w.one(" + ", " - ", " & ", " | ", " ^ ") + w.math(depth-1) + ")"
	case 2:
		return w.one("ip", "tcp", "udp", "ether") + "[" + w.math(depth-1) + w.one("", ":2", ":4") + "]"
	case 3:
		return w.math(depth-1) + w.one(" << ", " >> ") + fmt.Sprint(w.IntN(16))
	case 4:
		return w.math(depth-1) + w.one(" / ", " % ", " * ") + fmt.Sprint(1+w.IntN(16))
	}
	return w.math(depth-1) + w.one(" + ", " - ", " & ", " | ", "&", "|") + w.math(depth-1)
}

// soup is words in any order: seldom valid.
func (w writer) soup() string {
	parts := make([]string, 1+w.IntN(7))
	for i := range parts {
		parts[i] = w.one("ip", "ip6", "tcp", "udp", "arp", "ether", "src", "dst", "host", "net", "port", "portrange", "proto", "and", "or", "not", "!", "(", ")",
			"10.1.2.3", "10.1", "80", "0x50", "http", "::1", "2001:db8::", "/", "16", "64", "mask", "255.255.0.0", "02:42:ac:11:00:02", "[", "]", ":", "2", "=", ">", "<", "&", "|", "+", "-",
			"len", "vlan", "mpls", "less", "broadcast", "\\tcp", "80-443", "tcp-syn", "icmp", "[0]", "[12:2]", "= 5", "port 80", "host 10.1.2.3", "or 443", "and 10.1.2.4", "(80", "443)")
	}
	return strings.Join(parts, w.one(" ", " ", " ", ""))
}
