package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// readBytes is how much of an archive is read at once.
const readBytes = 64 << 10

// An ArchiveSource is one node's capture that was stored as an archive. It is not
// safe for concurrent use.
type ArchiveSource struct {
	name       string // of the archive, for messages
	file       *os.File
	reader     *archive.Reader
	packets    packetFile // the one that is being read
	interfaces []Interface
	names      []pcapng.Name
	frames     *archiveFrames
}

// OpenArchive opens the archive at path, a tar.gz of package archive, and reads
// it up to its first packet. Errors name the archive. The caller closes it.
func OpenArchive(path string) (*ArchiveSource, error) {
	a := &ArchiveSource{name: filepath.Base(path)}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("archive %w", err)
	}
	a.file = file
	if err := a.begin(); err != nil {
		return nil, errors.Join(a.named(err), file.Close())
	}
	return a, nil
}

func (a *ArchiveSource) begin() (err error) {
	if a.reader, err = archive.NewReader(bufio.NewReaderSize(a.file, readBytes)); err != nil {
		return err
	}
	if err := a.nextFile(); errors.Is(err, io.EOF) {
		return errors.New("no packet file is in it")
	} else if err != nil {
		return err
	}
	a.names = mergeNames(nil, a.packets.names()) // each file of a ring repeats them
	a.interfaces, err = a.describe()
	return err
}

// Record is the archive's capture.json.
func (a *ArchiveSource) Record() *archive.Record { return a.reader.Record() }

// Names are the names of addresses that the packet files have.
func (a *ArchiveSource) Names() []pcapng.Name { return a.names }

// Source is the archive as a source of a Merger, which reads the packets of all
// files in it. It may be called once. Packets that were overwritten in a ring of files, or came
// after a limit, are not counted as seen.
func (a *ArchiveSource) Source() Source { return a.source(newPacer(1), 0) }

// source is Source, as one of several that keep pace.
func (a *ArchiveSource) source(pace *pacer, index int) Source {
	record := a.Record()
	a.frames = newArchiveFrames(a, pace, index)
	return Source{Node: record.Node, Interfaces: a.interfaces, ClockOffsetNS: record.ClockCorrectionNS, Frames: a.frames}
}

// Close closes the archive. A Merger that still reads it gets an error.
func (a *ArchiveSource) Close() error {
	if a.frames != nil {
		a.frames.close()
	}
	if err := a.file.Close(); err != nil {
		return a.named(err)
	}
	return nil
}

// named puts the archive's name before err.
func (a *ArchiveSource) named(err error) error { return fmt.Errorf("archive %s: %w", a.name, err) }

// nextFile opens the archive's next packet file. Behind the last one, and when
// the archive is whole, the error is io.EOF.
func (a *ArchiveSource) nextFile() error {
	for {
		entry, err := a.reader.Next()
		if err != nil {
			return err
		}
		if entry.Packets == nil {
			continue
		}
		first := a.packets
		if a.packets, err = openPacketFile(entry); err != nil {
			return fmt.Errorf("%s: %w", entry.Name, err)
		}
		if first != nil && !slices.EqualFunc(first.interfaces(), a.packets.interfaces(), sameInterface) {
			return fmt.Errorf("%s has other interfaces than the file before it", entry.Name)
		}
		return nil
	}
}

func sameInterface(a, b pcapng.Interface) bool {
	return a.Name == b.Name && a.LinkType == b.LinkType && a.SnapLen == b.SnapLen
}

// describe returns the interfaces as the merged file has them.
func (a *ArchiveSource) describe() ([]Interface, error) {
	record, inFile := a.Record(), a.packets.interfaces()
	if record.Format == string(Pcap) {
		return []Interface{{Interface: pcapInterface(record, inFile[0])}}, nil
	}
	if len(inFile) != len(record.Interfaces) {
		return nil, fmt.Errorf("record has %d interfaces, and the packet file %d", len(record.Interfaces), len(inFile))
	}
	var all []Interface
	for id, i := range inFile {
		all = append(all, Interface{Interface: i, Target: record.Interfaces[id].Target})
	}
	return all, nil
}

// pcapInterface is the interface of a pcap file, which does not tell one from
// another.
func pcapInterface(record *archive.Record, i pcapng.Interface) pcapng.Interface {
	i.OS, i.Description = record.Kernel, "node "+record.Node
	if len(record.Interfaces) == 1 {
		i.Name = record.InterfaceTitle(record.Interfaces[0])
		return i
	}
	var titles []string
	for _, each := range record.Interfaces {
		titles = append(titles, record.InterfaceTitle(each))
	}
	i.Name = record.Node + "/any"
	i.Description = brief(i.Description+", interfaces "+strings.Join(titles, " "), maxVerdict)
	return i
}

// end is what a collector's End frame would have been: the packets in the files,
// and those that were lost.
func (a *ArchiveSource) end() wire.End {
	record := a.Record()
	end := wire.End{Reason: record.Reason}
	for _, i := range record.Interfaces {
		end.Interfaces = append(end.Interfaces, wire.InterfaceStats{
			ID: i.ID, Seen: i.Packets + i.Lost, Captured: i.Packets, Lost: i.Lost, SeenBytes: i.SeenBytes, Excluded: i.Excluded,
		})
	}
	if record.Format != string(Pcap) {
		return end
	}
	var sum wire.InterfaceStats
	for _, i := range end.Interfaces {
		sum.Seen += i.Seen
		sum.Captured += i.Captured
		sum.Lost += i.Lost
		sum.SeenBytes += i.SeenBytes
		sum.Excluded += i.Excluded
	}
	end.Interfaces = []wire.InterfaceStats{sum}
	return end
}

// A packetFile is a file of packets, of either format.
type packetFile interface {
	interfaces() []pcapng.Interface
	names() []pcapng.Name
	// next returns the next packet, valid until the following call; io.EOF at the
	// end.
	next() (pcapng.Packet, error)
}

func openPacketFile(entry archive.Entry) (packetFile, error) {
	r := bufio.NewReaderSize(entry, readBytes)
	if strings.HasSuffix(entry.Name, ".pcap") {
		pcap, err := pcapng.NewPcapReader(r)
		return pcapFile{pcap}, err
	}
	f := &pcapngFile{reader: pcapng.NewReader(r)}
	return f, f.begin()
}

type pcapFile struct{ reader *pcapng.PcapReader }

func (f pcapFile) interfaces() []pcapng.Interface {
	return []pcapng.Interface{{LinkType: f.reader.LinkType, SnapLen: f.reader.SnapLen}}
}
func (f pcapFile) names() []pcapng.Name         { return nil }
func (f pcapFile) next() (pcapng.Packet, error) { return f.reader.Next() }

// A pcapngFile is a section whose interfaces and names come before its packets.
type pcapngFile struct {
	reader   *pcapng.Reader
	all      []pcapng.Interface
	resolved []pcapng.Name
	first    pcapng.Packet // read with the head, and not returned yet
	ended    bool          // a second section has begun
}

func (f *pcapngFile) interfaces() []pcapng.Interface { return f.all }
func (f *pcapngFile) names() []pcapng.Name           { return f.resolved }

// begin reads up to the first packet.
func (f *pcapngFile) begin() error {
	if _, err := f.reader.Next(); err != nil {
		return unexpected(err)
	}
	p, err := f.next()
	if f.first = p; errors.Is(err, io.EOF) {
		return nil // the next call of next will say so again
	}
	return err
}

func (f *pcapngFile) next() (pcapng.Packet, error) {
	if p := f.first; p != nil {
		f.first = nil
		return p, nil
	}
	for {
		block, err := f.reader.Next()
		if err != nil {
			return nil, err
		}
		switch block.Type() {
		case pcapng.TypeSection:
			f.ended = true // staging adds one that has only a comment
		case pcapng.TypeInterface:
			err = f.addInterface(block)
		case pcapng.TypeNames:
			var names []pcapng.Name
			names, err = block.Names()
			f.resolved = append(f.resolved, names...)
		case pcapng.TypePacket:
			return f.packet(block)
		}
		if err != nil {
			return nil, err
		}
	}
}

// maxInterfaces bounds what a file says of interfaces: several of each target.
const maxInterfaces = 16 * wire.MaxTargets

func (f *pcapngFile) addInterface(block pcapng.Block) error {
	i, err := block.Interface()
	if len(f.all) == maxInterfaces {
		err = fmt.Errorf("more than %d interfaces", maxInterfaces)
	}
	f.all = append(f.all, i)
	return err
}

func (f *pcapngFile) packet(block pcapng.Block) (pcapng.Packet, error) {
	p, err := block.Packet()
	if err == nil && (f.ended || uint64(p.Interface()) >= uint64(len(f.all))) {
		err = fmt.Errorf("packet on interface %d of %d", p.Interface(), len(f.all))
	}
	return p, err
}

// unexpected is the error of what should not end yet.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// mergeNames returns all with those of more that it lacks.
func mergeNames(all, more []pcapng.Name) []pcapng.Name {
	known := make(map[pcapng.Name]bool, len(all))
	for _, n := range all {
		known[n] = true
	}
	for _, n := range more {
		if !known[n] {
			known[n] = true
			all = append(all, n)
		}
	}
	return all
}
