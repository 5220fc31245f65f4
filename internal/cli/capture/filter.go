package capture

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
)

const filterLong = `Explain a filter of pcap-filter(7): its normal form, or the program that it is
compiled to, as tcpdump -d prints it. Nothing is asked of the cluster.

The language is the whole of pcap-filter(7), and the words pod, ns, svc and node
for Kubernetes' own names. Capturing does not take a filter yet: give this one to
tcpdump, tshark or Wireshark.`

const filterExample = `  # what tcpdump's short forms stand for
  kubectl retina capture filter 'tcp port 80 or 443'

  # the program, for people
  kubectl retina capture filter -d 'tcp[tcpflags] & (tcp-syn|tcp-fin) != 0'

  # for a C program, and for iptables and others that take numbers
  kubectl retina capture filter -dd 'icmp or arp'
  kubectl retina capture filter -ddd --link-type raw 'udp port 53'`

// filterOptions are the flags of capture filter.
type filterOptions struct {
	streams  genericiooptions.IOStreams
	dump     int
	linkType string
	snapLen  uint32
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
			return o.run(strings.Join(args, " "))
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.CountVarP(&o.dump, "dump", "d", "print the program: -d for people, -dd as C, -ddd as numbers")
	f.StringVar(&o.linkType, "link-type", "ethernet", "ethernet, or raw: packets begin with the IP header")
	f.Uint32Var(&o.snapLen, "snapshot-length", 262144, "what the program returns for a packet that matches")
	_ = cmd.RegisterFlagCompletionFunc("link-type", cobra.FixedCompletions([]cobra.Completion{"ethernet", "raw"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *filterOptions) run(expression string) error {
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
	program, err := filter.Compile(link, pcapfilter.Options{SnapLen: o.snapLen, Resolver: resolve})
	if err != nil {
		return showFilter(o.streams.ErrOut, err)
	}
	text := [...]func() string{program.String, program.C, program.Decimal}[o.dump-1]()
	_, err = io.WriteString(o.streams.Out, strings.TrimSuffix(text, "\n")+"\n")
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

// resolve asks this machine's resolver for the addresses of a host.
func resolve(name string) ([]netip.Addr, error) {
	ips, err := net.LookupIP(name)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, ip := range ips {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs, nil
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
