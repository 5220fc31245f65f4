package capture

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/packetprint"
)

const readLong = `Print the packets of capture files as tcpdump would, with the names of pods and
services instead of their addresses where the file has them, and the interface
and direction of each packet. Nothing is asked of the cluster.

FILE is a pcapng or pcap file of any program, also compressed with gzip, or a
node's archive (.tar.gz) as capture create and capture download --raw leave it;
- is standard input. The packets of several files are put in the order of time.

With --filter only the packets that match are printed: pod, ns, svc and node stand for
the addresses that the file has for them, a pod or service without a namespace for
those of that name in all of them.

Lines have local time. TCP's sequence numbers count from the beginning of the
connection, but for that of a SYN. A header that was cut off is [|tcp] for
example, and one that cannot be right is told in brackets.`

const readExample = `  # a line for each packet
  kubectl retina capture read web.pcapng

  # headers and bytes of the first ten
  kubectl retina capture read web.pcapng --print=full --packet-count 10

  # what two programs or nodes have captured, in the order of time
  kubectl retina capture read web.pcapng other.pcapng

  # an object for each packet, for jq and others
  kubectl retina capture read web.pcapng -o json

  # what one pod says to a service
  kubectl retina capture read web.pcapng --filter 'pod shop/web-1 and tcp port 80'

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
	filter  string
}

// NewRead returns the command. It needs no cluster.
func NewRead(streams genericiooptions.IOStreams) *cobra.Command {
	o := &readOptions{streams: streams}
	cmd := &cobra.Command{
		Use:     "read FILE ...",
		Short:   "Print the packets of capture files, with the names of pods and services",
		Long:    readLong,
		Example: readExample,
		Args: func(cmd *cobra.Command, args []string) error {
			stdin := 0
			for _, arg := range args {
				if arg == "-" {
					stdin++
				}
			}
			switch {
			case len(args) == 0:
				return hint.Wrap(exit.Usagef("no file is named"), "write "+cmd.CommandPath()+" FILE, or - for standard input")
			case stdin > 1:
				return exit.Usagef("- is given %d times, and there is one standard input", stdin)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd.Flags().Changed("print")); err != nil {
				return err
			}
			if len(args) > 1 {
				return o.runSeveral(cmd.Context(), args)
			}
			return o.run(cmd.Context(), args[0])
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.print, "print", string(packetprint.Line), "line, full with headers and bytes, or json")
	f.StringVarP(&o.output, "output", "o", "", "json: as --print json, an object for each packet in a line of its own")
	f.StringVar(&o.filter, "filter", "", "print only the packets that match this filter of pcap-filter(7); pod, ns, svc and node are those that the file names")
	f.Uint64Var(&o.packets, "packet-count", 0, "stop after so many packets (default all)")
	f.BoolVar(&o.names, "names", true, "print names instead of addresses where the file has them")
	for name, values := range map[string][]cobra.Completion{"print": liveFormats(), "output": {string(packetprint.JSON)}} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	}
	for _, name := range []string{"packet-count", "filter"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return cmd
}

func (o *readOptions) check(printSet bool) error {
	switch {
	case !slices.Contains(liveFormats(), o.print):
		return exit.Usagef("--print %q is not one of %s", o.print, strings.Join(liveFormats(), ", "))
	case o.output != "" && o.output != string(packetprint.JSON):
		return exit.Usagef("-o %q is not json", o.output)
	case o.output != "" && printSet:
		return exit.Usagef("--print and -o exclude each other")
	}
	return nil
}

func (o *readOptions) run(ctx context.Context, path string) error {
	r := o.reader(o.streams.Out)
	if o.filter != "" {
		var err error
		if r.filter, err = newFileFilter(ctx, o.filter, &r.names, o.streams.ErrOut); err != nil {
			return err
		}
	}
	return r.run(ctx, o.streams.In, path)
}

// run reads what is at path, or stdin.
func (r *captureReader) run(ctx context.Context, stdin io.Reader, path string) error {
	in, name, grace := stdin, "standard input", pipeGrace
	if path != "-" {
		file, err := openCapture(path)
		if err != nil {
			return err
		}
		defer file.Close()
		in, name, grace = file, path, fileGrace
	}
	r.in.Reset(in)
	if path != "-" {
		r.stopped = ctx.Done()
	}
	return awaitReader(ctx, grace, func() error { return r.explain(name, r.read()) })
}

// awaitReader returns what read does, or, when ctx has ended, not much later.
func awaitReader(ctx context.Context, grace time.Duration, read func() error) error {
	done := make(chan error, 1)
	go func() { done <- read() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(grace): // it waits for input, and ends with the program
		return exit.With(exit.Interrupted, exit.ErrSilent)
	}
}

// reader returns a reader whose input is not set yet.
func (o *readOptions) reader(out io.Writer) *captureReader {
	format := packetprint.Format(o.print)
	if o.output != "" {
		format = packetprint.Format(o.output)
	}
	r := newCaptureReader(nil, out, o.streams.ErrOut, format, o.names)
	r.most = o.packets
	return r
}
