package capture

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// filterFlags say which packets are captured. A packet must satisfy all of them.
type filterFlags struct {
	expressions      []string
	include, exclude []string
	from, to         []string
	interfaces       []string
}

func (f *filterFlags) addTo(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.expressions, "filter", nil, "capture only packets that match this expression of pcap-filter(7), also --pcap-filter and --tcpdump-filter: see capture filter")
	flags.StringSliceVar(&f.include, "include-filter", nil, "capture only packets from or to one of these: IP:PORT, IP, PORT, *:PORT, IP:*, with IPv6 in brackets, and networks")
	flags.StringSliceVar(&f.exclude, "exclude-filter", nil, "leave out packets from or to any of these, as for --include-filter")
	flags.StringSliceVar(&f.from, "source-ips", nil, "capture only packets from one of these addresses or networks")
	flags.StringSliceVar(&f.to, "destination-ips", nil, "capture only packets to one of these addresses or networks")
	flags.StringSliceVar(&f.interfaces, "interfaces", nil, "capture on the interfaces of pods and nodes with these names, on all of them; none or any: on those that carry the targets' packets")
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "pcap-filter" || name == "tcpdump-filter" {
			name = "filter"
		}
		return pflag.NormalizedName(name)
	})
}

// A packetFilter is what the flags say, compiled.
type packetFilter struct {
	text string          // in normal form
	spec wire.FilterSpec // without addresses
	// objects are named in it, by the bits that stand for them.
	objects  []pcapfilter.ObjectRef
	ethernet pcapfilter.Program
}

// compile returns nil if every packet is captured. Where an expression is wrong
// it is shown on errOut with a mark below the place.
func (f *filterFlags) compile(errOut io.Writer, hosts lookup) (*packetFilter, error) {
	parts, err := f.filters(errOut)
	filter := pcapfilter.And(parts...)
	if err != nil || filter.Empty() {
		return nil, err
	}
	p := &packetFilter{text: filter.String(), objects: filter.Objects()}
	options := pcapfilter.Options{Resolver: hosts, LiveObjects: true}
	if p.ethernet, err = filter.Compile(pcapfilter.Ethernet, options); err != nil {
		if wrong, ok := errors.AsType[*pcapfilter.Error](err); ok && len(parts) > 1 && eachCompiles(parts, options) {
			return nil, hint.Wrap(exit.Usagef("what the flags say together: %s: %s", wrong.Msg, oneline.Text(p.text)),
				"a packet must pass --filter, --include-filter, --exclude-filter, --source-ips and --destination-ips, as many of them as are given")
		}
		return nil, wrongFilter(showFilter(errOut, err))
	}
	raw, rawErr := filter.Compile(pcapfilter.Raw, options)
	if rawErr != nil { // it is about Ethernet; that matters on tunnels only
		p.spec.NoRaw = rawErr.Error()
	}
	if longest := max(len(p.ethernet), len(raw)); longest > wire.MaxFilterInstructions {
		return nil, hint.Wrap(fmt.Errorf("--filter has %d instructions, and the kernel takes %d", longest, wire.MaxFilterInstructions),
			"put addresses together to nets, as in net 10.0.0.0/8, and ports to portranges")
	}
	if longest := max(p.ethernet.KernelSize(pcapfilter.Ethernet), raw.KernelSize(pcapfilter.Raw)); longest > pcapfilter.KernelRoom {
		return nil, hint.Wrap(fmt.Errorf("--filter may need %d instructions in the kernel, where there is room for %d", longest, pcapfilter.KernelRoom),
			"put addresses together to nets, as in net 10.0.0.0/8, and ports to portranges")
	}
	p.spec.Ethernet, p.spec.Raw, p.spec.Objects = instructions(p.ethernet), instructions(raw), len(p.objects)
	return p, nil
}

// eachCompiles reports whether nothing is wrong with the parts themselves.
func eachCompiles(parts []*pcapfilter.Filter, options pcapfilter.Options) bool {
	for _, part := range parts {
		if _, err := part.Compile(pcapfilter.Ethernet, options); err != nil {
			return false
		}
	}
	return true
}

// wrongFilter names the flag instead of calling it a filter.
func wrongFilter(err error) error {
	return hint.Wrap(exit.Usagef("--filter: %s", strings.TrimPrefix(err.Error(), "filter: ")), hint.Of(err))
}

func instructions(program pcapfilter.Program) []wire.FilterInstruction {
	var all []wire.FilterInstruction
	for _, in := range program {
		all = append(all, wire.FilterInstruction(in))
	}
	return all
}

// filters are what each of the flags says. Expressions come last: words like vlan change
// what the part after them is about.
func (f *filterFlags) filters(errOut io.Writer) ([]*pcapfilter.Filter, error) {
	var all []*pcapfilter.Filter
	for _, list := range []struct {
		flag   string
		values []string
		parse  func(string) (*pcapfilter.Filter, error)
		not    bool
	}{
		{"source-ips", f.from, pcapfilter.From, false},
		{"destination-ips", f.to, pcapfilter.To, false},
		{"include-filter", f.include, pcapfilter.Endpoint, false},
		{"exclude-filter", f.exclude, pcapfilter.Endpoint, true},
	} {
		var any []*pcapfilter.Filter
		for _, value := range list.values {
			one, err := list.parse(value)
			if err != nil {
				return nil, fmt.Errorf("--%s: %w", list.flag, err)
			}
			any = append(any, one)
		}
		switch {
		case len(any) == 0:
		case list.not:
			all = append(all, pcapfilter.Not(pcapfilter.Or(any...)))
		default:
			all = append(all, pcapfilter.Or(any...))
		}
	}
	for _, expression := range f.expressions {
		one, err := parseFilter(errOut, expression)
		if err != nil {
			return nil, wrongFilter(err)
		}
		all = append(all, one)
	}
	return all, nil
}

// maxIfname is how long the name of an interface can be.
const maxIfname = 15

// names returns the interfaces asked for, each once; none: those that carry the
// targets' packets.
func (f *filterFlags) names() ([]string, error) {
	var all []string
	for _, name := range f.interfaces {
		switch {
		case name == "any" || name == "":
			if len(f.interfaces) > 1 {
				return nil, errors.New("--interfaces: any stands alone")
			}
			return nil, nil
		case len(name) > maxIfname:
			return nil, fmt.Errorf("--interfaces %q: names of interfaces have at most %d bytes", name, maxIfname)
		}
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	if len(all) > wire.MaxInterfaceNames {
		return nil, fmt.Errorf("--interfaces has %d names, and may have %d", len(all), wire.MaxInterfaceNames)
	}
	return all, nil
}

// filterText is the effective filter, or "".
func (c *config) filterText() string {
	if c.filter == nil {
		return ""
	}
	return c.filter.text
}
