package capture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/packetprint"
	"github.com/kubectl-retina/kubectl-retina/internal/packetprint/capturefile"
)

const readLong = `Print the packets of a capture file as tcpdump would, with the names of pods and
services instead of their addresses where the file has them, and the interface
and direction of each packet. Nothing is asked of the cluster.

FILE is a pcapng or pcap file of any program, also compressed with gzip, or a
node's archive (.tar.gz) as capture create and capture download --raw leave it;
- is standard input.

Lines have local time. TCP's sequence numbers count from the beginning of the
connection, but for that of a SYN. A header that was cut off is [|tcp] for
example, and one that cannot be right is told in brackets.`

const readExample = `  # a line for each packet
  kubectl retina capture read web.pcapng

  # headers and bytes of the first ten
  kubectl retina capture read web.pcapng --print=full --packet-count 10

  # an object for each packet, for jq and others
  kubectl retina capture read web.pcapng -o json

  # read along
  kubectl retina capture create deploy/web -n shop --duration 5s --write - | kubectl retina capture read -`

const (
	readBufferBytes = 64 << 10
	// How long an interrupted reader of a file has to print what it has begun, and
	// one of a pipe to come to its end: the writer is interrupted too.
	fileGrace = 200 * time.Millisecond
	pipeGrace = 5 * time.Second
)

// readOptions are the flags of capture read.
type readOptions struct {
	streams genericiooptions.IOStreams
	print   string
	output  string
	packets uint64
	names   bool
}

// NewRead returns the command. It needs no cluster.
func NewRead(streams genericiooptions.IOStreams) *cobra.Command {
	o := &readOptions{streams: streams}
	cmd := &cobra.Command{
		Use:     "read FILE",
		Short:   "Print the packets of a capture file, with the names of pods and services",
		Long:    readLong,
		Example: readExample,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return hint.Wrap(exit.Usagef("%d files are named, one is needed", len(args)), "write "+cmd.CommandPath()+" FILE, or - for standard input")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd.Flags().Changed("print")); err != nil {
				return err
			}
			return o.run(cmd.Context(), args[0])
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.print, "print", string(packetprint.Line), "line, or full: with headers and bytes")
	f.StringVarP(&o.output, "output", "o", "", "json: an object for each packet, in a line of its own")
	f.Uint64Var(&o.packets, "packet-count", 0, "stop after so many packets (default all)")
	f.BoolVar(&o.names, "names", true, "print names instead of addresses where the file has them")
	for name, values := range map[string][]cobra.Completion{"print": printFormats(), "output": {string(packetprint.JSON)}} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	}
	_ = cmd.RegisterFlagCompletionFunc("packet-count", cobra.NoFileCompletions)
	return cmd
}

func printFormats() []cobra.Completion {
	return []cobra.Completion{string(packetprint.Line), string(packetprint.Full)}
}

func (o *readOptions) check(printSet bool) error {
	switch {
	case !slices.Contains(printFormats(), o.print):
		return exit.Usagef("--print %q is not one of %s", o.print, strings.Join(printFormats(), ", "))
	case o.output != "" && o.output != string(packetprint.JSON):
		return exit.Usagef("-o %q is not json", o.output)
	case o.output != "" && printSet:
		return exit.Usagef("--print and -o exclude each other")
	}
	return nil
}

func (o *readOptions) run(ctx context.Context, path string) error {
	in, name, grace := o.streams.In, "standard input", pipeGrace
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		in, name, grace = file, path, fileGrace
	}
	r := o.reader(in)
	if path != "-" {
		r.stopped = ctx.Done()
	}
	done := make(chan error, 1)
	go func() { done <- r.read() }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done:
		case <-time.After(grace): // it waits for input, and ends with the program
			return exit.With(exit.Interrupted, exit.ErrSilent)
		}
	}
	return r.explain(name, err)
}

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

	begun   bool // the file is one
	packets uint64
	written error         // why nothing more can be written
	offset  time.Duration // to add to the times of packets
	record  *archive.Record
}

func (o *readOptions) reader(in io.Reader) *captureReader {
	format := packetprint.Format(o.print)
	if o.output != "" {
		format = packetprint.Format(o.output)
	}
	r := newCaptureReader(in, o.streams.Out, o.streams.ErrOut, format, o.names)
	r.most = o.packets
	return r
}

func newCaptureReader(in io.Reader, out, errOut io.Writer, format packetprint.Format, names bool) *captureReader {
	r := &captureReader{in: bufio.NewReaderSize(in, readBufferBytes), out: bufio.NewWriterSize(out, readBufferBytes), errOut: errOut}
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
	case !r.begun && errors.Is(err, capturefile.ErrFormat):
		return hint.Wrap(fmt.Errorf("%s is no capture file: %w", name, err), "name a pcapng or pcap file, also compressed with gzip, or the archive of a node")
	case !r.begun:
		return fmt.Errorf("read %s: %w", name, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("it is cut off")
	}
	return exit.With(exit.Partial, fmt.Errorf("%s was read up to packet %d: %w", name, r.packets, err))
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
	direction := packetprint.Unknown
	switch {
	case p.Inbound:
		direction = packetprint.In
	case p.Outbound:
		direction = packetprint.Out
	}
	if r.written = r.printer.Write(p.Interface, p.Time.Add(r.offset), p.WireLen, direction, p.Data); r.written != nil {
		return r.written
	}
	r.packets++
	if r.packets == r.most {
		return errReadEnough
	}
	return nil
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
