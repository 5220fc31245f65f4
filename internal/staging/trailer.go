package staging

import (
	"fmt"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// maxVerdict bounds what a trailer says in words, in bytes.
const maxVerdict = 1000

// trailerRoom is the most bytes that a trailer has.
func trailerRoom(config Config) int64 {
	if config.Format != "pcapng" {
		return 0
	}
	one := statistics(wire.InterfaceStats{}, 0, 1, 1).Append(nil)
	return int64(len(one)*config.Interfaces + len(verdict(strings.Repeat("x", maxVerdict)).Append(nil)))
}

// trailer is the end of the last file: the interfaces' statistics, and of a file
// that lacks packets one more section, which only says so. Stock tools show the
// comments of a section, and not those of statistics.
func (f *Files) trailer(stats []wire.InterfaceStats, startNS, endNS int64) []byte {
	if f.config.Format != "pcapng" {
		return nil
	}
	var dst []byte
	for _, s := range stats[:min(len(stats), len(f.keptByID))] {
		if int(s.ID) < len(f.keptByID) {
			dst = statistics(s, f.keptByID[s.ID], startNS, endNS).Append(dst)
		}
	}
	switch {
	case f.err != nil:
		dst = verdict(fmt.Sprintf("incomplete: %d packets were not written: %v", f.counts.Unwritten, f.err)).Append(dst)
	case f.limit == DiskLimit:
		dst = verdict(fmt.Sprintf("incomplete: the node's disk was nearly full, %d packets came after that", f.counts.Limited)).Append(dst)
	}
	return dst
}

func statistics(s wire.InterfaceStats, kept uint64, startNS, endNS int64) pcapng.Statistics {
	return pcapng.Statistics{Interface: s.ID, TimeNS: endNS, StartNS: startNS, EndNS: endNS, Counts: []pcapng.Count{
		{Counter: pcapng.IfRecv, N: s.Seen}, {Counter: pcapng.IfDrop, N: s.Lost}, {Counter: pcapng.UsrDeliv, N: kept},
	}}
}

func verdict(text string) pcapng.Section {
	return pcapng.Section{Comments: []string{strings.ToValidUTF8(text[:min(len(text), maxVerdict)], "")}}
}

// writeTrailer writes what trailer makes of the counts as they are. On a full disk
// packets make room for it; where that does not help the file ends without it.
func (f *Files) writeTrailer(trailer func() []byte) error {
	c := f.current
	b := trailer()
	if len(b) == 0 {
		return nil
	}
	end := c.written
	if f.append(b) == nil {
		return nil
	}
	if err := f.truncate(end - f.room); err != nil {
		return err
	}
	if f.append(trailer()) != nil {
		return f.truncate(c.written)
	}
	return nil
}

// append writes the trailer as it is.
func (f *Files) append(trailer []byte) error {
	err := f.current.write(trailer)
	if err != nil {
		f.fail(err)
	}
	return err
}
