package capture

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
)

// An encoder makes a capture file's bytes.
type encoder interface {
	// header returns the beginning of the file.
	header() ([]byte, error)
	// join returns what introduces one more interface; false: the format cannot
	// have it beside the others.
	join(i Interface) ([]byte, bool)
	// name returns what introduces names.
	name(names []pcapng.Name) []byte
	// packet appends p.
	packet(dst []byte, p pcapng.Packet) []byte
	// note has text said at the next packet, where the format can.
	note(text string)
	// trailer returns the end of the file; startNS is when the capture began
	// and endNS now.
	trailer(result *Result, startNS, endNS int64) []byte
	// room is the most bytes that a trailer has.
	room() int64
}

func newEncoder(format Format, interfaces []Interface, opts Options) encoder {
	if format == Pcap {
		return &pcapEncoder{interfaces: interfaces}
	}
	return &pcapngEncoder{interfaces: interfaces, section: opts.Section, names: opts.Names}
}

// Bounds of what a trailer says in words, in bytes.
const (
	maxComment = 200  // about an interface
	maxVerdict = 1000 // about the whole file
)

// Head returns the beginning of a capture file with these interfaces, for packets
// that somebody else writes after it: numbered as the interfaces are.
func Head(format Format, section pcapng.Section, interfaces []Interface, names []pcapng.Name) ([]byte, error) {
	return newEncoder(format, interfaces, Options{Section: section, Names: names}).header()
}

type pcapngEncoder struct {
	interfaces []Interface
	section    pcapng.Section
	names      []pcapng.Name
	pending    string
}

func (e *pcapngEncoder) header() ([]byte, error) {
	dst := e.section.Append(nil)
	for _, i := range e.interfaces {
		dst = i.Append(dst)
	}
	return pcapng.AppendNames(dst, e.names), nil
}

func (e *pcapngEncoder) join(i Interface) ([]byte, bool) {
	e.interfaces = append(e.interfaces, i)
	return i.Append(nil), true
}

func (e *pcapngEncoder) name(names []pcapng.Name) []byte { return pcapng.AppendNames(nil, names) }

func (e *pcapngEncoder) packet(dst []byte, p pcapng.Packet) []byte {
	if e.pending == "" {
		return append(dst, p...)
	}
	dst = p.AppendCommented(dst, e.pending)
	e.pending = ""
	return dst
}

func (e *pcapngEncoder) note(text string) {
	if e.pending != "" {
		text = e.pending + "; " + text
	}
	e.pending = brief(text, maxVerdict)
}

// trailer ends the section with the interfaces' statistics. A file that is not
// complete gets one more section that has only a comment to say so: a comment of
// the first section would have to be written before anything is known, and no
// stock tool shows those of statistics.
func (e *pcapngEncoder) trailer(result *Result, startNS, endNS int64) []byte {
	var dst []byte
	for _, s := range result.Sources {
		for _, i := range s.Interfaces {
			if !i.Absent {
				dst = i.statistics(s.missing(), startNS, endNS).Append(dst)
			}
		}
	}
	if !result.Complete {
		dst = e.verdict("incomplete: " + strings.Join(result.missing(), "; ")).Append(dst)
	}
	return dst
}

func (e *pcapngEncoder) verdict(text string) pcapng.Section {
	section := e.section
	section.Comments = []string{brief(text, maxVerdict)}
	return section
}

func (e *pcapngEncoder) room() int64 {
	dst := e.verdict(strings.Repeat("x", maxVerdict)).Append(nil)
	for range e.interfaces {
		s := pcapng.Statistics{StartNS: 1, EndNS: 1, Comments: []string{strings.Repeat("x", maxComment)},
			Counts: []pcapng.Count{{Counter: pcapng.IfRecv}, {Counter: pcapng.IfDrop}, {Counter: pcapng.UsrDeliv}}}
		dst = s.Append(dst)
	}
	return int64(len(dst))
}

// statistics are the interface's block at the end of the file. What a stream
// that was cut cannot tell is left out.
func (i InterfaceResult) statistics(missing string, startNS, endNS int64) pcapng.Statistics {
	s := pcapng.Statistics{Interface: i.ID, TimeNS: endNS, StartNS: cmp.Or(i.JoinedNS, startNS), EndNS: cmp.Or(i.GoneNS, endNS)}
	if i.Counted {
		s.Counts = append(s.Counts, pcapng.Count{Counter: pcapng.IfRecv, N: i.Seen}, pcapng.Count{Counter: pcapng.IfDrop, N: i.Lost})
	}
	s.Counts = append(s.Counts, pcapng.Count{Counter: pcapng.UsrDeliv, N: i.Packets})
	switch {
	case missing != "":
		s.Comments = []string{brief("incomplete: "+missing, maxComment)}
	case i.Gone:
		s.Comments = []string{"the interface vanished during the capture"}
	}
	return s
}

// pcapEncoder writes the format that has only packets.
type pcapEncoder struct{ interfaces []Interface }

func (e *pcapEncoder) header() ([]byte, error) {
	if len(e.interfaces) == 0 {
		return nil, errors.New("no interface to capture on")
	}
	linkType, snapLen := e.interfaces[0].LinkType, uint32(0)
	for _, i := range e.interfaces {
		if i.LinkType != linkType {
			return nil, hint.Wrap(fmt.Errorf("%s and %s have different link types, and a pcap file has only one",
				e.interfaces[0].Name, i.Name), "use the pcapng format")
		}
		snapLen = max(snapLen, i.SnapLen)
	}
	return pcapng.AppendPcapHeader(nil, linkType, snapLen), nil
}

func (e *pcapEncoder) join(i Interface) ([]byte, bool) {
	return nil, len(e.interfaces) > 0 && i.LinkType == e.interfaces[0].LinkType
}

func (e *pcapEncoder) name([]pcapng.Name) []byte { return nil }

func (e *pcapEncoder) packet(dst []byte, p pcapng.Packet) []byte {
	return pcapng.AppendPcapRecord(dst, p)
}

func (e *pcapEncoder) note(string)                          {}
func (e *pcapEncoder) trailer(*Result, int64, int64) []byte { return nil }
func (e *pcapEncoder) room() int64                          { return 0 }

// brief returns text as one line of valid UTF-8, cut to limit bytes.
func brief(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) <= limit {
		return text
	}
	const ellipsis = "…"
	limit -= len(ellipsis)
	for !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + ellipsis
}
