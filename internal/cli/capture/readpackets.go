package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/packetprint"
	"github.com/kubectl-retina/kubectl-retina/internal/packetprint/capturefile"
)

// errReadEnough ends the reading of a file before its end.
var errReadEnough = errors.New("enough packets")

// errReadStopped ends it when the user interrupts.
var errReadStopped = errors.New("interrupted")

// A captureReader prints one file.
type captureReader struct {
	in      *bufio.Reader
	out     *bufio.Writer
	errOut  io.Writer
	printer *packetprint.Printer
	names   fileNames
	most    uint64 // packets; 0: all
	stopped <-chan struct{}

	begun   bool           // the file is one
	packets uint64         // that were printed, or match
	seen    uint64         // packets that were read
	filter  *fileFilter    // nil: all match
	links   map[int]uint16 // of interfaces
	silent  bool           // only count
	written error          // why nothing more can be written
	offset  time.Duration  // to add to the times of packets
	record  *archive.Record
	turn    func(time.Time) error // nil, or waits until a packet of this time is the next of several files
	last    time.Time             // of the packet before
}

func newCaptureReader(in io.Reader, out, errOut io.Writer, format packetprint.Format, names bool) *captureReader {
	r := &captureReader{in: bufio.NewReaderSize(in, readBufferBytes), out: bufio.NewWriterSize(out, readBufferBytes), errOut: errOut, links: make(map[int]uint16)}
	options := packetprint.Options{Format: format}
	if names {
		options.Names = r.names.name
	}
	r.printer = packetprint.New(r.out, options)
	return r
}

// read prints all there is. Its error is why that is not the whole file.
func (r *captureReader) read() error {
	err := r.open()
	if err == nil && r.filter != nil {
		err = r.filter.finish()
	}
	_ = r.flush() // it is in r.written
	return err
}

// flush prints what is held, and is why nothing more can be written.
func (r *captureReader) flush() error {
	if err := r.out.Flush(); err != nil {
		r.written = err
	}
	return r.written
}

// explain turns the error of read into the command's.
func (r *captureReader) explain(name string, err error) error {
	switch {
	case capture.ReaderClosed(r.written): // its reader has seen enough
		return nil
	case r.written != nil:
		return fmt.Errorf("print packets: %w", r.written)
	case err == nil || errors.Is(err, errReadEnough):
		return nil
	case errors.Is(err, errReadStopped):
		return exit.With(exit.Interrupted, exit.ErrSilent)
	case errors.Is(err, errNotInFile):
		return err
	case !r.begun && errors.Is(err, capturefile.ErrFormat):
		return hint.Wrap(fmt.Errorf("%s is no capture file: %w", name, err), "name a pcapng or pcap file, also compressed with gzip, or the archive of a node")
	case !r.begun:
		return fmt.Errorf("read %s: %w", name, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("it is cut off")
	}
	return exit.With(exit.Partial, fmt.Errorf("%s was read up to packet %d: %w", name, r.seen, err))
}

// file prints one packet file.
func (r *captureReader) file(in io.Reader) error {
	file, err := capturefile.NewReader(in)
	if err != nil {
		return err
	}
	r.begun = true
	for {
		if r.in.Buffered() == 0 { // what follows may be a while
			if err := r.flush(); err != nil {
				return err
			}
		}
		item, err := file.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch item := item.(type) {
		case *capturefile.Section:
			r.section(item)
		case *capturefile.Interface:
			r.links[item.ID] = item.LinkType
			r.printer.SetInterface(item.ID, r.describe(item))
		case capturefile.Names:
			r.names.add(item)
		case *capturefile.Packet:
			if err := r.packet(item); err != nil {
				return err
			}
		}
	}
}

func (r *captureReader) packet(p *capturefile.Packet) error {
	select {
	case <-r.stopped:
		return errReadStopped
	default:
	}
	if r.turn != nil {
		if !p.Time.IsZero() { // else it comes right after the one before it
			r.last = p.Time.Add(r.offset)
		}
		if err := r.turn(r.last); err != nil {
			return err
		}
	}
	r.seen++
	if r.filter != nil && !r.filter.match(r.links[p.Interface], p) {
		return nil
	}
	if !r.silent {
		if r.written = r.print(p); r.written != nil {
			return r.written
		}
	}
	if r.packets++; r.packets == r.most {
		return errReadEnough
	}
	return nil
}

// print prints a packet. Its error is that of the output.
func (r *captureReader) print(p *capturefile.Packet) error {
	direction := packetprint.Unknown
	switch {
	case p.Inbound:
		direction = packetprint.In
	case p.Outbound:
		direction = packetprint.Out
	}
	return r.printer.Write(p.Interface, p.Time.Add(r.offset), p.WireLen, direction, p.Data)
}

// section says what one of our files says about itself: the last section of one
// that is not complete has a comment only.
func (r *captureReader) section(s *capturefile.Section) {
	r.names.section(s)
	for _, comment := range s.Comments {
		if r.names.ours && strings.HasPrefix(comment, "incomplete: ") {
			fmt.Fprintln(r.errOut, "warning: the capture is", oneline.Text(comment))
		}
	}
}
