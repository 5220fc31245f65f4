package pcapfilter

import (
	"iter"
	"maps"
	"strconv"
	"strings"
)

// A port's name also says its protocol, unless TCP and UDP share it.
func lookupPort(name string) (port, protocol uint32, ok bool) {
	if n, err := strconv.ParseUint(name, 10, 16); err == nil { // escaped digits
		return uint32(n), 0, true
	}
	if port, ok = tcpPorts[name]; ok {
		return port, protocolTCP, true
	}
	if port, ok = udpPorts[name]; ok {
		return port, protocolUDP, true
	}
	port, ok = bothPorts[name]
	return port, 0, ok
}

// portName looks a port up. A protocol that is qualified must be a name's own.
func (m *match) portName(name, word string, protocol uint32) (port, real uint32) {
	port, real, ok := lookupPort(name)
	if !ok {
		advice := didYouMean(name, portNames())
		if first, second, isRange := strings.Cut(name, "-"); isRange && m.qualifier.kind == "port" && isPort(first) && isPort(second) {
			advice = "write portrange " + name
		}
		m.fail(advice, "unknown port %q", name)
	}
	own := map[uint32]string{protocolTCP: "tcp", protocolUDP: "udp"}[real]
	switch {
	case protocol == 0:
		return port, real
	case real != 0 && real != protocol:
		m.fail("write port "+strconv.Itoa(int(port))+" if it is meant with "+word, "port %q is of %s, not %s", name, own, word)
	}
	return port, protocol
}

func isPort(name string) bool {
	_, _, ok := lookupPort(name)
	return ok
}

func portNames() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, table := range []map[string]uint32{tcpPorts, udpPorts, bothPorts} {
			for name := range maps.Keys(table) {
				if !yield(name) {
					return
				}
			}
		}
	}
}

// rangeNames looks up a range: two numbers or names with - between them. Of two
// names with different protocols none counts.
func (m *match) rangeNames(protocol uint32) (low, high, real uint32) {
	first, second, ok := strings.Cut(m.id.text, "-")
	if !ok {
		m.fail("write two ports, as in portrange 6000-6008", "%q is not a range of ports", m.id.text)
	}
	low, high = m.numericPort(first), m.numericPort(second)
	if low != noPort && high != noPort {
		return low, high, protocol
	}
	low, lowProtocol := m.portName(first, m.qualifier.protocol, protocol)
	high, highProtocol := m.portName(second, m.qualifier.protocol, protocol)
	if lowProtocol != highProtocol {
		return low, high, protocol
	}
	return low, high, lowProtocol
}

const noPort = 1 << 16

// numericPort reads a decimal number, or returns noPort for what is none.
func (m *match) numericPort(text string) uint32 {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return noPort
	}
	if n >= noPort {
		m.fail("", "port %d is greater than 65535", n)
	}
	return uint32(n)
}
