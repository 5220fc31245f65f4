package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/packetprint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

const filterLong = `Explain a filter of pcap-filter(7): its normal form, or the program that it is
compiled to, as tcpdump -d prints it. Nothing is asked of the cluster.

With --packets the filter is tried on a capture file, and the packets that match are
counted: "12 of 83 packets match". With --print they are printed too, as capture
read does, and the count is on standard error. Each packet is looked at by the link
type of its interface; pod, ns, svc and node are those that the file names.

The language is the whole of pcap-filter(7), and the words pod, ns, svc and node
for Kubernetes' own names. capture create --filter takes it too, and so do, but for
these words, tcpdump, tshark and Wireshark.`

const filterExample = `  # what tcpdump's short forms stand for
  kubectl retina capture filter 'tcp port 80 or 443'

  # the program, for people
  kubectl retina capture filter -d 'tcp[tcpflags] & (tcp-syn|tcp-fin) != 0'

  # how many packets of a file match, and which
  kubectl retina capture filter --packets web.pcapng 'tcp[tcpflags] & tcp-syn != 0'
  kubectl retina capture filter --packets web.pcapng --print 'svc shop/web'

  # for a C program, and for iptables and others that take numbers
  kubectl retina capture filter -dd 'icmp or arp'
  kubectl retina capture filter -ddd --link-type raw 'udp port 53'`

// filterOptions are the flags of capture filter.
type filterOptions struct {
	streams  genericiooptions.IOStreams
	dump     int
	linkType string
	snapLen  uint32
	packets  string // file to try it on
	print    string // how to print those that match; "": not at all
}

// NewFilter returns the command. It needs no cluster.
func NewFilter(streams genericiooptions.IOStreams) *cobra.Command {
	o := &filterOptions{streams: streams}
	cmd := &cobra.Command{
		Use:     "filter EXPRESSION",
		Short:   "Explain a filter of pcap-filter(7)",
		Long:    filterLong,
		Example: filterExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return hint.Wrap(exit.Usagef("no filter is given"), "write "+cmd.CommandPath()+" 'tcp port 80'")
			}
			if err := o.check(cmd.Flags()); err != nil {
				return err
			}
			if o.packets != "" {
				return o.try(cmd.Context(), strings.Join(args, " "))
			}
			return o.run(cmd.Context(), strings.Join(args, " "))
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.CountVarP(&o.dump, "dump", "d", "print the program: -d for people, -dd as C, -ddd as numbers")
	f.StringVar(&o.linkType, "link-type", "ethernet", "ethernet, or raw: packets begin with the IP header")
	f.Uint32Var(&o.snapLen, "snapshot-length", 262144, "what the program returns for a packet that matches")
	f.StringVar(&o.packets, "packets", "", "count the packets of this pcap or pcapng file, or of - for standard input, that match")
	f.StringVar(&o.print, "print", "", "with --packets: print those that match, as line, full or json")
	f.Lookup("print").NoOptDefVal = string(packetprint.Line)
	_ = cmd.MarkFlagFilename("packets", "pcapng", "pcap", "gz") // the flag exists
	_ = cmd.RegisterFlagCompletionFunc("print", cobra.FixedCompletions(liveFormats(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("link-type", cobra.FixedCompletions([]cobra.Completion{"ethernet", "raw"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *filterOptions) run(ctx context.Context, expression string) error {
	link := pcapfilter.Ethernet
	switch {
	case o.linkType == "raw":
		link = pcapfilter.Raw
	case o.linkType != "ethernet":
		return hint.Wrap(exit.Usagef("--link-type %q is not one of ethernet, raw", o.linkType), "write --link-type raw for interfaces without a link-layer header, such as tunnels")
	}
	if o.dump > 3 {
		return exit.Usagef("-d can be given up to three times")
	}
	filter, err := parseFilter(o.streams.ErrOut, expression)
	if err != nil {
		return err
	}
	if o.dump == 0 {
		fmt.Fprintln(o.streams.Out, filter)
		if words := filter.Objects(); len(words) > 0 {
			fmt.Fprintln(o.streams.ErrOut, "it follows the addresses of: "+objectList(words))
		}
		return nil
	}
	program, err := filter.Compile(link, pcapfilter.Options{SnapLen: o.snapLen, Resolver: newLookup(ctx)})
	if err != nil {
		return showFilter(o.streams.ErrOut, err)
	}
	text := [...]func() string{program.String, program.C, program.Decimal}[o.dump-1]()
	_, err = io.WriteString(o.streams.Out, strings.TrimSuffix(text, "\n")+"\n")
	return err
}

// check refuses flags that do not go together.
func (o *filterOptions) check(given *pflag.FlagSet) error {
	switch {
	case o.packets == "" && o.print != "":
		return hint.Wrap(exit.Usagef("--print is for packets, and --packets is not given"), "add --packets FILE")
	case o.print != "" && !slices.Contains(liveFormats(), o.print):
		return exit.Usagef("--print %q is not one of %s", o.print, strings.Join(liveFormats(), ", "))
	case o.packets == "":
		return nil
	}
	for _, name := range []string{"dump", "link-type", "snapshot-length"} {
		if given.Changed(name) {
			return exit.Usagef("--packets and --%s exclude each other: the file says what its packets are", name)
		}
	}
	return nil
}

// try runs the filter over a file.
func (o *filterOptions) try(ctx context.Context, expression string) error {
	r := newCaptureReader(nil, o.streams.Out, o.streams.ErrOut, packetprint.Format(o.print), true)
	var err error
	if r.filter, err = newFileFilter(ctx, expression, &r.names, o.streams.ErrOut); err != nil {
		return err
	}
	r.silent = o.print == ""
	err = r.run(ctx, o.streams.In, o.packets)
	if !r.begun || r.written != nil || errors.Is(err, exit.ErrSilent) {
		return err
	}
	count := o.streams.Out
	if o.print != "" {
		count = o.streams.ErrOut
	}
	fmt.Fprintf(count, "%s of %s match\n", comma(r.packets), plural(int(min(r.seen, math.MaxInt32)), "packet"))
	return err
}

func objectList(words []pcapfilter.ObjectRef) string {
	var names []string
	for _, w := range words {
		name := w.Name
		if w.Namespace != "" {
			name = w.Namespace + "/" + name
		}
		names = append(names, w.Kind.String()+" "+name)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// parseFilter parses an expression. Where it is wrong it is shown with a mark
// below the place.
func parseFilter(errOut io.Writer, expression string) (*pcapfilter.Filter, error) {
	filter, err := pcapfilter.Parse(expression)
	if err != nil {
		return nil, showFilter(errOut, err)
	}
	return filter, nil
}

// showFilter shows the place of an error in an expression, and returns the error
// as a mistake of the command line.
func showFilter(errOut io.Writer, err error) error {
	var wrong *pcapfilter.Error
	if errors.As(err, &wrong) && wrong.Expr != "" {
		fmt.Fprintln(errOut, wrong.Caret())
	}
	return exit.With(exit.Usage, err)
}
