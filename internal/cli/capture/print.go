package capture

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/packetprint"
)

// viewFlags say who looks at the packets while they are captured.
type viewFlags struct {
	print     string // "": nobody, else a packetprint.Format
	wireshark bool
}

func (v *viewFlags) addTo(f *pflag.FlagSet) {
	f.StringVar(&v.print, "print", "", "print the packets as they come: line, full with headers and bytes, or json; no file is written without --write")
	f.Lookup("print").NoOptDefVal = string(packetprint.Line)
	f.BoolVar(&v.wireshark, "wireshark", false, "show the packets in Wireshark as they come; no file is written without --write")
}

// viewed reports whether somebody looks on.
func (v *viewFlags) viewed() bool { return v.print != "" || v.wireshark }

// liveFormats are the values of --print.
func liveFormats() []string {
	return []string{string(packetprint.Line), string(packetprint.Full), string(packetprint.JSON)}
}

// checkViews checks --print and --wireshark, and what goes with them.
func (o *createOptions) checkViews() error {
	flag := "--print"
	word := slices.IndexFunc(o.request.Args, func(arg string) bool { return slices.Contains(liveFormats(), arg) })
	switch {
	case o.print == "" && !o.wireshark:
		return nil
	case o.print == "":
		flag = "--wireshark"
	case !slices.Contains(liveFormats(), o.print):
		return fmt.Errorf("--print %q is not one of %s", o.print, strings.Join(liveFormats(), ", "))
	case word >= 0:
		return hint.Wrap(fmt.Errorf("--print and %s are two words, so that the second one is a target", o.request.Args[word]), "write --print="+o.request.Args[word])
	case o.write == capture.Stdout:
		return hint.Wrap(errors.New("--print and --write - both want standard output"), "write to a file, or print the stream elsewhere: --write - | tee FILE | kubectl retina capture read -")
	case o.output == "yaml" || o.output == "json" && o.print == string(packetprint.Full):
		return hint.Wrap(fmt.Errorf("--print=%s and -o %s both want standard output", o.print, o.output), "leave one of them away, or write --print=json for an object for each packet")
	}
	switch {
	case o.stored():
		return hint.Wrap(fmt.Errorf("%s is for captures that are streamed here, and nodes store this one", flag),
			"leave the destination and --no-wait away, or read it later: kubectl retina capture download NAME, and then capture read")
	case o.format == string(capture.Pcap):
		return hint.Wrap(fmt.Errorf("%s needs the names and interfaces that --format pcap does not have", flag), "leave --format away")
	}
	return nil
}

// sizeLimitMB is the most that a file may have; 0 is no limit. There is one without
// being asked for only where there is a file.
func (o *createOptions) sizeLimitMB() int64 {
	if o.viewed() && o.write == "" && !o.flags.Changed("max-size") {
		return 0
	}
	return o.maxSizeMB
}

// printFormat is how packets are printed.
func (o *createOptions) printFormat() packetprint.Format {
	if o.output == "json" { // what is printed is the packets, and so what -o is about
		return packetprint.JSON
	}
	return packetprint.Format(o.print)
}

// summaryFormat is how the summary is printed; "" if it is not.
func (o *createOptions) summaryFormat() string {
	if o.print != "" {
		return ""
	}
	return o.output
}

// A livePrinter prints the pcapng blocks that are written to it. It takes them at the
// pace at which what it prints is read.
type livePrinter struct {
	in    *io.PipeWriter
	done  chan struct{}
	begun bool
	err   error // why it has stopped; set when done is closed
}

func newLivePrinter(out io.Writer, format packetprint.Format) *livePrinter {
	from, in := io.Pipe()
	p := &livePrinter{in: in, done: make(chan struct{})}
	// The command itself says what is missing, so nothing is said twice.
	reader := newCaptureReader(from, out, io.Discard, format, true)
	go func() {
		defer close(p.done)
		p.err = reader.file(reader.in)
		if err := reader.flush(); err != nil {
			p.err = fmt.Errorf("print packets: %w", err)
		}
		_ = from.CloseWithError(p.err) // what the next Write fails with
	}()
	return p
}

// Write prints b, which is of whole blocks. Its errors are those of the output.
func (p *livePrinter) Write(b []byte) (int, error) {
	p.begun = true
	return p.in.Write(b)
}

// Close waits until everything is printed. That nobody reads it any more is no error.
func (p *livePrinter) Close() error {
	_ = p.in.Close() // never fails
	<-p.done
	if !p.begun || capture.ReaderClosed(p.err) {
		return nil
	}
	return p.err
}
