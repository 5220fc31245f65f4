package packetprint

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A Record is a packet as JSON has it. Fields are only added, and what a packet
// does not have is left out. All texts are fit for a terminal.
type Record struct {
	Time      time.Time `json:"time"` // RFC 3339, UTC, to the ns
	Interface string    `json:"interface,omitempty"`
	Pod       string    `json:"pod,omitempty"` // NAMESPACE/NAME, that has the interface
	Node      string    `json:"node,omitempty"`
	Direction string    `json:"direction,omitempty"` // "ingress" or "egress", of the interface
	Length    int       `json:"length"`              // bytes on the wire
	Captured  int       `json:"captured"`            // bytes of those
	Ethernet  *Ethernet `json:"ethernet,omitempty"`
	Content
}

// Content is what a packet carries, or what a tunnel's packet does.
type Content struct {
	// Protocol is "ARP", or the last one that is known of what is in IP: "TCP",
	// "UDP", "ICMP", "ICMPv6", "IGMP", "SCTP", else a name as "GRE" or a number.
	Protocol    string    `json:"protocol,omitempty"`
	Source      *Endpoint `json:"source,omitempty"`
	Destination *Endpoint `json:"destination,omitempty"`
	// Info is what the line has after the addresses.
	Info string `json:"info"`
	// Truncated says that a header is not there as a whole, and Malformed what is
	// wrong with one that is.
	Truncated bool   `json:"truncated,omitempty"`
	Malformed string `json:"malformed,omitempty"`

	IP   *IP   `json:"ip,omitempty"`
	ARP  *ARP  `json:"arp,omitempty"`
	TCP  *TCP  `json:"tcp,omitempty"`
	UDP  *UDP  `json:"udp,omitempty"`
	ICMP *ICMP `json:"icmp,omitempty"`
	DNS  *DNS  `json:"dns,omitempty"`
	HTTP *HTTP `json:"http,omitempty"`
	TLS  *TLS  `json:"tls,omitempty"`
	// Inner is the packet in a tunnel's: IP in IP, VXLAN or Geneve.
	Inner *Content `json:"inner,omitempty"`

	label string // before the addresses: "IP", "IP6"
}

// Ethernet is the header of a frame.
type Ethernet struct {
	Source      string   `json:"source"`
	Destination string   `json:"destination"`
	Type        string   `json:"type"`            // "0x0800"
	VLANs       []uint16 `json:"vlans,omitempty"` // the outermost first
}

// Endpoint is one end of a packet's way.
type Endpoint struct {
	Address netip.Addr `json:"address"`
	Port    *uint16    `json:"port,omitempty"`
	Name    string     `json:"name,omitempty"` // as in the line
}

// text is the name or address, and the port.
func (e *Endpoint) text() string {
	text := e.Name
	if text == "" {
		text = e.Address.String()
	}
	if e.Port != nil {
		text += "." + strconv.Itoa(int(*e.Port))
	}
	return text
}

// IP is the header of an IPv4 or IPv6 packet.
type IP struct {
	Version int    `json:"version"`
	TTL     uint8  `json:"ttl"` // the hop limit of IPv6
	ID      uint32 `json:"id,omitempty"`
	// FragmentOffset, in bytes, and MoreFragments are those of a fragment.
	FragmentOffset int  `json:"fragmentOffset,omitempty"`
	MoreFragments  bool `json:"moreFragments,omitempty"`
}

// ARP is a question for, or an answer with, a hardware address.
type ARP struct {
	Operation string `json:"operation"` // "request", "reply" or a number
	SenderMAC string `json:"senderMAC"`
	TargetMAC string `json:"targetMAC"`
}

// TCP is the header of a segment.
type TCP struct {
	Flags string `json:"flags"` // tcpdump's letters: "S", "S.", "P."
	// Seq and Ack count from the number of that direction's SYN, or, where it was not seen,
	// from 1 less than the first that was seen.
	Seq     uint32   `json:"seq"`
	Ack     uint32   `json:"ack"`
	RawSeq  uint32   `json:"rawSeq"`
	RawAck  uint32   `json:"rawAck"`
	Window  uint16   `json:"window"` // as in the header, not scaled
	Urgent  uint16   `json:"urgent,omitempty"`
	Options []string `json:"options,omitempty"` // as in the line
	Length  int      `json:"length"`            // bytes of payload
}

// UDP is the header of a datagram.
type UDP struct {
	Length int `json:"length"` // bytes of payload
}

// ICMP is the beginning of an ICMP or ICMPv6 message.
type ICMP struct {
	Type uint8 `json:"type"`
	Code uint8 `json:"code"`
	// ID and Seq are those of an echo.
	ID  *uint16 `json:"id,omitempty"`
	Seq *uint16 `json:"seq,omitempty"`
}

// DNS is a message of the DNS, as far as it is there.
type DNS struct {
	ID        uint16        `json:"id"`
	Response  bool          `json:"response"`
	Code      string        `json:"code,omitempty"`      // of a response: "NOERROR", "NXDOMAIN"
	Truncated bool          `json:"truncated,omitempty"` // by the server
	Questions []DNSQuestion `json:"questions,omitempty"`
	Answers   []DNSAnswer   `json:"answers,omitempty"` // 64 at most
}

// DNSQuestion is what is asked for. Bytes of a name that are not printable are
// escaped as in a zone file.
type DNSQuestion struct {
	Name string `json:"name"` // with the last dot
	Type string `json:"type"`
}

// DNSAnswer is one record of an answer.
type DNSAnswer struct {
	Name string `json:"name"`
	Type string `json:"type"`
	TTL  uint32 `json:"ttl"`            // seconds
	Data string `json:"data,omitempty"` // of the types that are known
}

// HTTP is the first line of a request or a response of HTTP/1.
type HTTP struct {
	Method  string `json:"method,omitempty"`
	Target  string `json:"target,omitempty"`
	Host    string `json:"host,omitempty"` // of the request's header
	Status  int    `json:"status,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Version string `json:"version,omitempty"` // "HTTP/1.1"
}

// TLS is the first record of TLS in a packet.
type TLS struct {
	// Message is "ClientHello", "ServerHello", "Handshake", "ChangeCipherSpec",
	// "Alert" or "ApplicationData".
	Message string `json:"message"`
	// Version is the highest that a client offers, or the one that a server has
	// chosen: "TLS 1.3".
	Version string   `json:"version,omitempty"`
	SNI     string   `json:"sni,omitempty"`
	ALPN    []string `json:"alpn,omitempty"`
}

// appendLine appends the line, with its end.
func (r *Record) appendLine(b []byte, at time.Time, direction Direction) []byte {
	b = at.AppendFormat(b, "15:04:05.000000")
	b = append(b, ' ')
	if r.Interface != "" {
		b = append(append(b, r.Interface...), ' ')
	}
	if direction != Unknown {
		b = append(append(b, direction.String()...), ' ')
	}
	if r.Ethernet != nil {
		for _, vlan := range r.Ethernet.VLANs {
			b = append(strconv.AppendUint(append(b, "vlan "...), uint64(vlan), 10), ", "...)
		}
	}
	return append(append(b, r.text()...), '\n')
}

// text is the line without what is of the capture.
func (c *Content) text() string {
	var b strings.Builder
	if c.label != "" {
		b.WriteString(c.label + " ")
	}
	if c.label != "" && c.Source != nil && c.Destination != nil {
		b.WriteString(c.Source.text() + " > " + c.Destination.text() + ": ")
	}
	b.WriteString(c.Info)
	return b.String()
}

// cut notes that a header is not there as a whole.
func (c *Content) cut(name string) {
	c.Truncated = true
	c.say("[|" + name + "]")
}

// bad notes what is wrong with a header.
func (c *Content) bad(format string) {
	c.Malformed = format
	c.say("[" + format + "]")
}

// say adds to the line, after a blank.
func (c *Content) say(text string) {
	if c.Info != "" {
		c.Info += " "
	}
	c.Info += text
}
