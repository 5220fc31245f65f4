package pcapfilter

import (
	"fmt"
	"strings"
)

// What people write who have another language in mind: Wireshark's, kubectl's or
// that of tcpdump's command line. None of it is part of this one; each gets a hint.

// displayFields are fields of Wireshark's display filters and what stands for them.
var displayFields = map[string]string{
	"ip.addr": "host ADDRESS", "ip.host": "host ADDRESS", "ip.src": "src host ADDRESS", "ip.dst": "dst host ADDRESS",
	"ipv6.addr": "host ADDRESS", "ipv6.src": "src host ADDRESS", "ipv6.dst": "dst host ADDRESS",
	"eth.addr": "ether host MAC", "eth.src": "ether src MAC", "eth.dst": "ether dst MAC", "eth.type": "ether proto NUMBER",
	"tcp.port": "tcp port PORT", "tcp.srcport": "tcp src port PORT", "tcp.dstport": "tcp dst port PORT",
	"udp.port": "udp port PORT", "udp.srcport": "udp src port PORT", "udp.dstport": "udp dst port PORT",
	"ip.proto": "ip proto NUMBER", "ip.ttl": "ip[8] = NUMBER", "frame.len": "len = NUMBER", "vlan.id": "vlan NUMBER",
	"tcp.flags.syn": "tcp[tcpflags] & tcp-syn != 0", "tcp.flags.ack": "tcp[tcpflags] & tcp-ack != 0",
	"tcp.flags.fin": "tcp[tcpflags] & tcp-fin != 0", "tcp.flags.reset": "tcp[tcpflags] & tcp-rst != 0",
	"icmp.type": "icmp[icmptype] = NUMBER", "icmpv6.type": "icmp6[icmp6type] = NUMBER",
}

// longObjectWords are kubectl's other words for the objects that a filter can name.
var longObjectWords = map[string]string{
	"po": "pod", "pods": "pod", "namespace": "ns", "namespaces": "ns", "service": "svc", "services": "svc", "nodes": "node",
}

// otherObjects are objects that a filter cannot name.
var otherObjects = map[string]bool{
	"deploy": true, "deployment": true, "sts": true, "statefulset": true, "ds": true, "daemonset": true,
	"rs": true, "replicaset": true, "job": true, "cronjob": true, "ep": true, "endpoints": true, "ingress": true, "ing": true,
}

// applications are protocols that a filter knows by their ports only.
var applications = map[string]string{"dns": "port 53", "http": "tcp port 80", "https": "tcp port 443", "tls": "tcp port 443", "ssl": "tcp port 443"}

// slip is a hint about t, which is what another language has, or "".
func (p *parser) slip(t token) string {
	if t.kind != tokenName || t.escaped {
		return ""
	}
	if field, ok := displayFields[strings.ToLower(t.text)]; ok {
		return fmt.Sprintf("write %s: %s is of Wireshark's display filters", field, t.text)
	}
	if word, ok := longObjectWords[t.text]; ok {
		return fmt.Sprintf("write %s %s", word, p.nameAfter(t))
	}
	if ports, ok := applications[strings.ToLower(t.text)]; ok {
		return fmt.Sprintf("write %s, or the port that it has: a filter does not look into it", ports)
	}
	if otherObjects[t.text] {
		return "a filter can name pod, ns, svc and node"
	}
	return ""
}

// nameAfter is what is written after t, with a slash or without, as the name of an
// object.
func (p *parser) nameAfter(t token) string {
	rest := strings.TrimLeft(t.place.expr[t.place.offset+t.place.length:], " /\t")
	end := strings.IndexFunc(rest, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-./", r)
	})
	if end >= 0 {
		rest = rest[:end]
	}
	if _, ok := words[rest]; ok || rest == "" || len(rest) > 253 {
		return "NAME"
	}
	return rest
}

// portAfter is the port of what is written ADDRESS:PORT, of which p is at the colon.
func (p *parser) portAfter() (port string, ok bool) {
	if !p.isSign(":") {
		return "", false
	}
	after := p.tokens[p.at+1]
	return after.text, after.kind == tokenNumber || after.kind == tokenName
}

// refuseOption fails where an expression begins with an option of tcpdump.
func (p *parser) refuseOption() {
	t := p.peek()
	after := t.place.expr[t.place.offset+t.place.length:]
	option, _, _ := strings.Cut(strings.TrimPrefix(after, "-"), " ")
	if !p.isSign("-") || option == "" || strings.Trim(option, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
		return
	}
	if _, ok := words[option]; ok { // -len is a number
		return
	}
	if _, ok := constants[option]; ok {
		return
	}
	t.place.length += len(after) - len(strings.TrimPrefix(after, "-")) + len(option)
	t.place.fail("interfaces, counts and sizes have flags of their own", "%q is an option of tcpdump, and no part of a filter", t.place.text())
}
