// Package packetprint prints packets for people and for programs: lines like
// tcpdump's with the names of pods and services, the same with a decoded dump, or
// JSON objects.
//
// It knows Ethernet with VLAN tags, Linux's cooked capture, ARP, IPv4 and IPv6
// with their extension headers, IP in IP, VXLAN, Geneve, ICMP, ICMPv6, IGMP, TCP,
// UDP and SCTP; above them DNS by its port, and HTTP/1 and TLS by what they begin
// with. Nothing is put together again: each packet is judged by its own bytes, but
// for the numbers of TCP, which are told from where the connection began.
//
// Every byte of a packet, and every name, is untrusted: what is printed has no
// control characters, and nothing of a packet can make a line endless.
package packetprint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A Format is how packets are printed.
type Format string

const (
	// Line is one line for a packet.
	Line Format = "line"
	// Full is the line, below it one line for each header, and all captured bytes.
	Full Format = "full"
	// JSON is one Record for a packet, in a line of its own.
	JSON Format = "json"
)

// Options say how packets are printed. The zero value is valid.
type Options struct {
	Format Format // "": Line
	// Names returns the name of an address, such as "shop/web-1" or "svc shop/web",
	// or "" if it has none. It is called for the addresses of every packet.
	Names func(netip.Addr) string
	// Location is the time zone of lines; nil: the local one. JSON has UTC.
	Location *time.Location
}

// An Interface is where packets were captured.
type Interface struct {
	Name     string // "shop/web-1/eth0"
	Pod      string // "shop/web-1", "" for that of a node
	Node     string // "" if not known
	LinkType uint16 // https://www.tcpdump.org/linktypes.html
}

// A Direction is that of a packet at its interface.
type Direction uint8

const (
	// Unknown is that of packets whose capture did not note it.
	Unknown Direction = iota
	// In is to the pod or node that has the interface.
	In
	// Out is from the pod or node that has the interface.
	Out
)

func (d Direction) String() string {
	switch d {
	case In:
		return "In "
	case Out:
		return "Out"
	}
	return ""
}

// word is the direction as in other outputs for programs.
func (d Direction) word() string {
	switch d {
	case In:
		return wire.DirectionIn
	case Out:
		return wire.DirectionOut
	}
	return ""
}

// A Printer prints packets. It is not safe for concurrent use.
type Printer struct {
	w          io.Writer
	options    Options
	interfaces map[int]Interface
	decoder    decoder
	json       *json.Encoder // into out
	out        bytes.Buffer
}

// New returns a Printer on w. Each packet is one Write.
func New(w io.Writer, options Options) *Printer {
	if options.Location == nil {
		options.Location = time.Local
	}
	if options.Names == nil {
		options.Names = func(netip.Addr) string { return "" }
	}
	p := &Printer{w: w, options: options, interfaces: make(map[int]Interface), decoder: newDecoder(options.Names, options.Format == Full)}
	p.json = json.NewEncoder(&p.out)
	p.json.SetEscapeHTML(false)
	return p
}

// SetInterface describes the interface with a number of the caller's. It may
// take the place of another.
func (p *Printer) SetInterface(id int, i Interface) {
	i.Name, i.Pod, i.Node = clean(i.Name, maxName), clean(i.Pod, maxName), clean(i.Node, maxName)
	p.interfaces[id] = i
}

// Write prints a packet of wireLen bytes of which data are those that were
// captured. It keeps nothing of data. Errors are those of the output, and of a
// number that SetInterface has not had.
func (p *Printer) Write(id int, at time.Time, wireLen int, direction Direction, data []byte) error {
	i, ok := p.interfaces[id]
	if !ok {
		return fmt.Errorf("packet on interface %d, which is not described", id)
	}
	r := Record{
		Time: at.UTC(), Interface: i.Name, Pod: i.Pod, Node: i.Node, Direction: direction.word(),
		Length: max(wireLen, len(data)), Captured: len(data),
	}
	p.decoder.decode(&r, id, i.LinkType, data)
	p.out.Reset()
	if p.options.Format == JSON {
		if err := p.json.Encode(&r); err != nil {
			return fmt.Errorf("packet as JSON: %w", err)
		}
	} else {
		b := r.appendLine(p.out.AvailableBuffer(), at.In(p.options.Location), direction)
		if p.options.Format == Full {
			b = appendDump(slices.Grow(b, len(data)*5), p.decoder.layers, data)
		}
		p.out.Write(b)
	}
	_, err := p.w.Write(p.out.Bytes())
	return err
}
