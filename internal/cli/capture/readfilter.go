package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/packetprint/capturefile"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

// Link types of files (https://www.tcpdump.org/linktypes.html), and the lengths of
// their headers in bytes.
const (
	fileNull     = 0
	fileEthernet = 1
	fileLoop     = 108
	fileCooked   = 113
	fileCooked2  = 276

	nullBytes     = 4
	cookedBytes   = 16
	cooked2Bytes  = 20
	ethernetBytes = 14
)

// fileRaw are the link types whose packets begin with the IP header.
func fileRaw(linkType uint16) bool {
	return linkType == 101 || linkType == 12 || linkType == 14 || linkType == 228 || linkType == 229
}

// A fileFilter decides which packets of a file match a filter.
type fileFilter struct {
	filter   *pcapfilter.Filter
	hosts    lookup
	names    *fileNames
	changes  int // of names, when the programs were made
	programs map[pcapfilter.LinkType]pcapfilter.Program
	unknown  map[pcapfilter.ObjectRef]bool // objects that have had no address so far
	warn     io.Writer
	warned   map[string]bool
	frame    []byte // memory for a made-up Ethernet header and what follows
}

// newFileFilter parses a filter for the packets of a file. A mistake in it is one of
// the command line, and shown on errOut.
func newFileFilter(ctx context.Context, expression string, names *fileNames, errOut io.Writer) (*fileFilter, error) {
	filter, err := parseFilter(errOut, expression)
	if err != nil {
		return nil, err
	}
	// What neither of the link types can have is wrong whatever is in the file.
	hosts := newLookup(ctx)
	options := pcapfilter.Options{Resolver: hosts, Objects: someAddresses}
	if _, err := filter.Compile(pcapfilter.Ethernet, options); err != nil {
		if _, rawErr := filter.Compile(pcapfilter.Raw, options); rawErr != nil {
			return nil, showFilter(errOut, err)
		}
	}
	f := &fileFilter{filter: filter, hosts: hosts, names: names, warn: errOut, unknown: map[pcapfilter.ObjectRef]bool{}, warned: map[string]bool{}}
	for _, ref := range filter.Objects() {
		f.unknown[ref] = true
	}
	return f, nil
}

// someAddresses are there for objects whose addresses do not matter.
func someAddresses(pcapfilter.ObjectRef) ([]netip.Addr, error) {
	return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}, nil
}

// match reports whether a packet of an interface with this link type passes. A cooked
// packet is seen as an Ethernet frame without addresses.
func (f *fileFilter) match(linkType uint16, p *capturefile.Packet) bool {
	switch {
	case linkType == fileEthernet:
		return f.run(pcapfilter.Ethernet, p.Data, p.WireLen)
	case fileRaw(linkType):
		return f.run(pcapfilter.Raw, p.Data, p.WireLen)
	case (linkType == fileNull || linkType == fileLoop) && len(p.Data) >= nullBytes:
		return f.run(pcapfilter.Raw, p.Data[nullBytes:], p.WireLen-nullBytes)
	case linkType == fileCooked && len(p.Data) >= cookedBytes:
		return f.cooked(binary.BigEndian.Uint16(p.Data[cookedBytes-2:]), p.Data[cookedBytes:], p.WireLen-cookedBytes)
	case linkType == fileCooked2 && len(p.Data) >= cooked2Bytes:
		return f.cooked(binary.BigEndian.Uint16(p.Data), p.Data[cooked2Bytes:], p.WireLen-cooked2Bytes)
	}
	f.say(fmt.Sprintf("packets of link type %d, or without a whole link header, cannot be filtered: none of them matches", linkType))
	return false
}

func (f *fileFilter) cooked(ethertype uint16, payload []byte, wireLen int) bool {
	f.frame = binary.BigEndian.AppendUint16(append(f.frame[:0], make([]byte, ethernetBytes-2)...), ethertype)
	f.frame = append(f.frame, payload...)
	return f.run(pcapfilter.Ethernet, f.frame, wireLen+ethernetBytes)
}

func (f *fileFilter) run(link pcapfilter.LinkType, data []byte, wireLen int) bool {
	if f.programs == nil || f.changes != f.names.changes && len(f.filter.Objects()) > 0 {
		f.programs, f.changes = map[pcapfilter.LinkType]pcapfilter.Program{}, f.names.changes
	}
	program, ok := f.programs[link]
	if !ok {
		program = f.compile(link)
		f.programs[link] = program
	}
	return program != nil && program.Match(data, wireLen)
}

// compile makes the program for the names that are known now; nil if no packet passes.
// What this link type cannot have, another interface of the file may have.
func (f *fileFilter) compile(link pcapfilter.LinkType) pcapfilter.Program {
	program, err := f.filter.Compile(link, pcapfilter.Options{Resolver: f.hosts, Objects: f.addresses})
	if err == nil {
		return program
	}
	// It may be about objects that have no address yet, or none any more.
	if _, err := f.filter.Compile(link, pcapfilter.Options{Resolver: f.hosts, Objects: someAddresses}); err != nil {
		f.say(fmt.Sprintf("no packet with a header of %s matches: %v", link, err))
	}
	return nil
}

func (f *fileFilter) say(text string) {
	if !f.warned[text] {
		f.warned[text] = true
		fmt.Fprintln(f.warn, "warning:", text)
	}
}

// addresses are those that the file has named so far.
func (f *fileFilter) addresses(ref pcapfilter.ObjectRef) ([]netip.Addr, error) {
	found := f.names.addresses(ref)
	if len(found) > 0 {
		delete(f.unknown, ref)
	}
	return found, nil
}

// errNotInFile is about objects.
var errNotInFile = errors.New("the file has no address of")

// finish is an error when the filter names what the file does not: then nothing that
// was decided can be trusted.
func (f *fileFilter) finish() error {
	var unknown []pcapfilter.ObjectRef
	for _, ref := range f.filter.Objects() {
		if f.unknown[ref] && len(f.names.addresses(ref)) == 0 {
			unknown = append(unknown, ref)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return hint.Wrap(fmt.Errorf("the filter names what %w: %s", errNotInFile, objectList(unknown)),
		"capture read prints the names that it has; write NAMESPACE/NAME, or an address")
}

// addresses are those of a Kubernetes object: of pods and services without a
// namespace, in all of them.
func (f *fileNames) addresses(ref pcapfilter.ObjectRef) []netip.Addr {
	if !f.ours {
		return nil
	}
	var found []netip.Addr
	for addr, name := range f.names {
		if f.is(name, ref) {
			found = append(found, addr)
		}
	}
	return found
}

// is reports whether an address with this name is one of the object's.
func (f *fileNames) is(name string, ref pcapfilter.ObjectRef) bool {
	service, isService := strings.CutSuffix(name, ".svc")
	short, namespace, ok := cutLast(service)
	own := ok && short == ref.Name && (ref.Namespace == "" || namespace == ref.Namespace)
	switch ref.Kind {
	case pcapfilter.Service:
		return isService && own
	case pcapfilter.Node:
		return name == ref.Name
	case pcapfilter.Pod:
		return !isService && !f.nodes[name] && own
	case pcapfilter.Namespace:
		return !isService && !f.nodes[name] && ok && namespace == ref.Name
	}
	return false
}
