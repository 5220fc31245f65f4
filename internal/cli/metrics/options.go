package metrics

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/collectors"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/narration"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/selecting"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const (
	// tableEntries bounds each of a collector's tables unless told otherwise: about
	// ten thousand flows fit into a collector's memory with room to spare.
	tableEntries = 16384
	// maxMeasuring bounds a command without an end. Collectors need one of their own
	// for when nobody is left to stop them.
	maxMeasuring = 24 * time.Hour
	// maxParallel is how many collectors start at once.
	maxParallel = 64
)

// options are the flags that all commands of the group have.
type options struct {
	kube    *kube.Flags
	streams genericiooptions.IOStreams
	now     func() time.Time

	request    target.Request
	collectors collectors.Flags
	plugins    []string
	noFollow   bool
	patience   time.Duration // for the first pod; 0 where a command has no such flag
	maxNodes   int
	entries    int
	quiet      bool
	hook       string

	named      []string // plugins, by the user
	everything bool     // no target was named
	withNodes  bool     // all nodes are targets as well
	image      string
}

func newOptions(flags *kube.Flags, streams genericiooptions.IOStreams) *options {
	return &options{kube: flags, streams: streams, now: time.Now}
}

// addTo adds the flags that follow the command's own.
func (o *options) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	selecting.AddTo(f, &o.request)
	f.StringSliceVar(&o.plugins, "plugins", nil, "measure with these only (default all, see kubectl retina plugins)")
	f.BoolVar(&o.noFollow, "no-follow", false, "measure the pods of the beginning only, not those that come later")
	f.IntVar(&o.maxNodes, "max-nodes", 20, "ask before measuring on more nodes than this; 0 is any number")
	f.IntVar(&o.entries, "table-entries", tableEntries, "how many flows, drops and names a node keeps apart; what is over is counted as lost")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print only warnings and errors")
	o.collectors.AddTo(f)
	f.StringVar(&o.hook, "hook", "", "attach by tcx or socket only, to try the fallback for kernels before 6.6")
	_ = f.MarkHidden("hook")
	selecting.Complete(cmd, o.kube)
	_ = cmd.RegisterFlagCompletionFunc("collector-namespace", o.kube.CompleteNamespace) // the flag exists
	_ = cmd.RegisterFlagCompletionFunc("plugins", func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return selecting.CompleteList(pluginNames()...)(cmd, args, word) // the catalogue is read only now
	})
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return cmd.Parent().FlagErrorFunc()(cmd, explainFlag(err))
	})
}

// addPatience adds the flag of commands that need a target at the beginning.
func (o *options) addPatience(f *pflag.FlagSet) {
	f.DurationVar(&o.patience, "pod-running-timeout", 0, "how long to wait for a first pod that runs; 0 is not at all")
}

// explainFlag says of a flag's value that cannot be read what it should be like.
func explainFlag(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	flag, value := invalid.GetFlag(), invalid.GetValue()
	switch flag.Value.Type() {
	case "duration":
		return hint.Wrap(exit.Usagef("--%s %q is not a time", flag.Name, value), "write 10s, 5m or 1h")
	case "int":
		return hint.Wrap(exit.Usagef("--%s %q is not a whole number", flag.Name, value), "write --"+flag.Name+" 100")
	}
	return err
}

// pluginNames are the plugins that measure, in the catalogue's order.
func pluginNames() []string {
	catalogue, err := retina.Catalog()
	if err != nil {
		return nil
	}
	var names []string
	for _, p := range catalogue.Plugins {
		if p.Command == "metrics" {
			names = append(names, p.Name)
		}
	}
	return names
}

// complete checks the flags that all commands have. Its errors are mistakes of the
// command line.
func (o *options) complete(args []string) error {
	o.request.Args = args
	if o.everything = selecting.None(&o.request); o.everything {
		o.request.Everything = true
	}
	known := pluginNames()
	named := len(o.plugins) > 0
	if !named {
		o.plugins = known
	}
	for i, name := range o.plugins {
		name = strings.ToLower(strings.TrimSpace(name))
		if !slices.Contains(known, name) {
			return hint.Wrap(fmt.Errorf("--plugins: there is no plugin %q that measures", name), didYouMean(name, known))
		}
		o.plugins[i] = name
	}
	slices.Sort(o.plugins)
	o.plugins = slices.Compact(o.plugins)
	if named {
		o.named = o.plugins
	}
	switch {
	case o.patience < 0 || o.patience > maxMeasuring:
		return fmt.Errorf("--pod-running-timeout %s is not between 0 and %s", o.patience, narration.Duration(maxMeasuring))
	case o.maxNodes < 0:
		return fmt.Errorf("--max-nodes %d is negative", o.maxNodes)
	case o.entries < wire.MinTableEntries || o.entries > wire.MaxTableEntries:
		return fmt.Errorf("--table-entries %d is not between %d and %d", o.entries, wire.MinTableEntries, wire.MaxTableEntries)
	case o.hook != "" && o.hook != "tcx" && o.hook != "socket":
		return fmt.Errorf("--hook %q is not one of tcx, socket", o.hook)
	}
	var err error
	if o.image, err = o.collectors.Image(); err != nil {
		return err
	}
	_, err = o.request.Selection() // the real namespace follows
	return err
}

func didYouMean(word string, names []string) string {
	if near := metrics.Nearest(word, names); near != "" {
		return fmt.Sprintf("did you mean %s? All: %s", near, strings.Join(names, ", "))
	}
	return "they are: " + strings.Join(names, ", ")
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width is that of the terminal that w is, or 0: none, or not known.
func width(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			return columns
		}
	}
	return 0
}
