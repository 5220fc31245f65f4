// Package capture is the `capture` group of commands.
package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/collectors"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/destination"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/selecting"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/manifest"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const createLong = `Capture the packets of pods and nodes, from all their nodes at once, into one
file in the order of time.

A collector pod starts on each node that has a target, attaches to the
interfaces of the targets only, and streams their packets here. When the
capture ends, for whatever reason, the collectors end and are deleted.

While it runs, the capture keeps up with the cluster: pods that begin to match are
added, on nodes that may have no collector yet, and pods that end are closed, so a
rollout is captured as a whole. --no-follow fixes the list, as it is fixed for
captures that nodes store.

With a destination (--blob-upload, --s3-bucket, --pvc, --host-path) the nodes
store the packets themselves, as archives NAME-NODE-TIME.tar.gz. With --no-wait
the command returns when the capture has begun: see capture list.

Name targets as for kubectl: TYPE/NAME, several if you like, where TYPE is pod,
deploy, sts, ds, rs, job, cronjob, svc or node; or select pods with -l. A node
is captured on its own interfaces, a pod on the pod's.

With --print the packets are printed as they come, as capture read prints those of
a file; with --wireshark a Wireshark on this machine shows them. Whoever closes the
pipe, or Wireshark, ends the capture. Both go together, and with --write.

With -f the captures are those of Retina's Capture manifests (retina.sh/v1alpha1),
which the cluster need not know. --dry-run=client prints a command line as one.`

const createExample = `  # ten seconds of a deployment's traffic
  kubectl retina capture create deploy/web -n shop --duration 10s

  # read along, with names: here, in Wireshark, with tshark, or in a program
  kubectl retina capture create deploy/web -n shop --print
  kubectl retina capture create deploy/web -n shop --wireshark --write shop.pcapng
  kubectl retina capture create -l app=web -A --duration 5s --write - | tshark -r -
  kubectl retina capture create deploy/web -n shop --duration 5s --print=json | head -n 5

  # one request hop by hop: pod, node's end, bridge, uplinks, and back up
  kubectl retina capture create svc/web -n shop --vantage pod,node --filter 'tcp port 80 or 8080' --duration 5s

  # a service's pods and one node, headers only, until Ctrl-C
  kubectl retina capture create svc/web node/n1 -n shop --packet-size 96 --duration 0

  # the requests to port 8080, but not those of Prometheus, whatever address it gets
  kubectl retina capture create deploy/web -n shop --filter 'tcp port 8080 and not pod monitoring/prometheus-0' --duration 5s

  # an hour of it in a blob container, while this machine does something else
  kubectl retina capture create deploy/web -n shop --duration 1h --no-wait --blob-upload "$SAS"

  # what would be done; and a command line as a manifest, which is run as one
  kubectl retina capture create deploy/web -n shop --dry-run=server
  kubectl retina capture create deploy/web -n shop --duration 5s --dry-run=client | kubectl retina capture create -f -

  # every Linux node, at most 10 MB, with a summary for a script
  kubectl retina capture create --node-selectors kubernetes.io/os=linux --max-size 10 -o json`

// createOptions are the flags of capture create.
type createOptions struct {
	kube    *kube.Flags
	streams genericiooptions.IOStreams
	now     func() time.Time

	request     target.Request
	name        string
	duration    time.Duration
	maxSizeMB   int64
	packetCount int64
	packetSize  int64

	destinations    destination.Flags
	noWait          bool
	keep            time.Duration
	fileCount       int
	includeMetadata bool
	redact          bool
	maxNodes        int
	noFollow        bool
	vantage         []string
	patience        time.Duration // for the first pod

	filters filterFlags
	lookup  lookup // of hosts in filters; nil: see hosts

	write  string
	format string
	output string
	quiet  bool
	viewFlags

	collectors collectors.Flags
	hook       string

	files  []string // manifests
	dryRun string   // "", dryRunClient or dryRunServer

	flags *pflag.FlagSet  // all of the above
	own   map[string]bool // names of the flags that are this command's own
	// What a manifest says that no flag does, and the paths of the fields that flags
	// were set from.
	source    *manifest.Capture // nil: there is none
	namespace string            // of the targets; empty: that of -n
	nameBase  string            // what a capture without a name is called
	fields    map[string]string
}

// NewCreate returns the command.
func NewCreate(flags *kube.Flags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &createOptions{kube: flags, streams: streams, now: time.Now}
	cmd := &cobra.Command{
		Use:     "create [TYPE/NAME ...] | -f FILENAME",
		Short:   "Capture packets of pods and nodes into one file",
		Long:    createLong,
		Example: createExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.request.Args = args
			return o.create(cmd.Context())
		},
	}
	o.addFlags(cmd)
	o.addCompletions(cmd)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return cmd.Parent().FlagErrorFunc()(cmd, explainFlag(err))
	})
	return cmd
}

func (o *createOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	o.flags, o.own, o.fields = f, map[string]bool{}, map[string]string{}
	selecting.AddTo(f, &o.request)
	o.addManifestFlags(cmd)

	f.DurationVar(&o.duration, "duration", time.Minute, "how long to capture; 0 is until Ctrl-C, a day at most")
	f.Int64Var(&o.maxSizeMB, "max-size", 100, "end before the file is larger, in MB of 1024*1024 bytes; 0 is no limit")
	f.Int64Var(&o.packetCount, "packet-count", 0, "end after this many packets; 0 is no limit")
	f.Int64Var(&o.packetSize, "packet-size", 0, "keep this many bytes of each packet (snaplen); 0 is all of it")

	o.filters.addTo(f)
	f.BoolVar(&o.redact, "redact", false, "keep the headers of each packet only: no payload leaves the node")
	f.IntVar(&o.maxNodes, "max-nodes", 20, "ask before capturing on more nodes than this; 0 is any number")

	f.StringSliceVar(&o.vantage, "vantage", []string{string(wire.VantagePod)}, "where to capture the packets of pods: pod, on their own interfaces; node, on the node's ends of those and all that the node passes on; or both")
	f.BoolVar(&o.noFollow, "no-follow", false, "capture the pods of the beginning only, not those that come later")
	f.DurationVar(&o.patience, "pod-running-timeout", 0, "how long to wait for a first pod that runs; 0 is not at all")

	f.StringVar(&o.write, "write", "", "the file, or - for standard output (default NAME-TIME.pcapng, unless nodes store the capture, or it is only looked at)")
	o.viewFlags.addTo(f)
	f.StringVar(&o.format, "format", string(capture.Pcapng), "pcapng, or pcap for old readers: without names, interfaces and counts")
	f.StringVar(&o.name, "name", "", "name of the capture, unique in the collector namespace (default that of the first target, with a suffix)")

	o.destinations.AddTo(f, true)
	f.BoolVar(&o.noWait, "no-wait", false, "return when the capture has begun; it ends, stores and cleans up by itself")
	f.DurationVar(&o.keep, "keep", time.Hour, "with --no-wait: how long nodes keep what is stored nowhere, and how long the capture stays listed")
	f.IntVar(&o.fileCount, "file-count", 0, "on each node, go on in a new file at --max-size, and keep this many, the youngest; 0 ends the capture instead")
	f.BoolVar(&o.includeMetadata, "include-metadata", true, "in archives: the network state of nodes and pods, before and after")
	f.StringVarP(&o.output, "output", "o", "", "print a summary as json or yaml; with --print, json is an object for each packet instead")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print only warnings and errors")

	o.collectors.AddTo(f)
	f.StringVar(&o.hook, "hook", "", "attach by tcx or socket only, to try the fallback for kernels before 6.6")
	_ = f.MarkHidden("hook")
	f.VisitAll(func(flag *pflag.Flag) { o.own[flag.Name] = true })
}

// config is what the flags say, checked; no string in it needs parsing.
type config struct {
	selection target.Selection
	duration  time.Duration // 0: until interrupted
	maxBytes  int64         // 0: no limit; of a stored capture: on each node
	stored    bool          // nodes store the capture
	packets   uint64        // 0: no limit
	snapLen   uint32
	format    capture.Format
	vantages  []wire.Vantage
	image     string
	// filter is nil if every packet is captured; interfaces are empty if those are
	// that carry the targets' packets.
	filter     *packetFilter
	interfaces []string
}

// maxCapture bounds a capture without a duration. Collectors need an end of
// their own for when nobody is left to stop them.
const maxCapture = 24 * time.Hour

// complete turns the flags into a config. All of its errors are mistakes of
// the command line.
func (o *createOptions) complete() (*config, error) {
	c, err := o.check()
	if err != nil {
		return nil, exit.With(exit.Usage, o.inManifest(err))
	}
	return c, nil
}

func (o *createOptions) check() (*config, error) {
	const mb = 1 << 20
	switch {
	case o.duration < 0 || o.duration > maxCapture:
		return nil, fmt.Errorf("--duration %s is not between 0 and %s", o.duration, maxCapture)
	case o.maxSizeMB < 0 || o.maxSizeMB > math.MaxInt64/mb:
		return nil, fmt.Errorf("--max-size %d is not a size in MB", o.maxSizeMB)
	case o.packetCount < 0:
		return nil, fmt.Errorf("--packet-count %d is negative", o.packetCount)
	case o.packetSize != 0 && (o.packetSize < wire.MinSnapLen || o.packetSize > wire.MaxSnapLen):
		return nil, fmt.Errorf("--packet-size %d is neither 0 nor between %d and %d", o.packetSize, wire.MinSnapLen, wire.MaxSnapLen)
	case o.output != "" && o.output != "json" && o.output != "yaml":
		return nil, fmt.Errorf("-o %q is not one of json, yaml", o.output)
	case o.output != "" && o.write == capture.Stdout:
		return nil, errors.New("--write - and -o both want standard output")
	case o.write == capture.Stdout && isTerminal(o.streams.Out):
		return nil, hint.Wrap(errors.New("--write - would write packets to the terminal"), "pipe it into tshark -r -, or name a file")
	case o.dryRun != "" && o.dryRun != dryRunClient && o.dryRun != dryRunServer:
		return nil, fmt.Errorf("--dry-run %q is not one of %s, %s", o.dryRun, dryRunClient, dryRunServer)
	case o.hook != "" && o.hook != "tcx" && o.hook != "socket":
		return nil, fmt.Errorf("--hook %q is not one of tcx, socket", o.hook)
	}
	c := &config{
		duration: o.duration, maxBytes: o.sizeLimitMB() * mb, packets: uint64(o.packetCount),
		snapLen: wire.MaxSnapLen, stored: o.stored(),
	}
	if o.packetSize > 0 {
		c.snapLen = uint32(o.packetSize)
	}
	if o.name != "" {
		if err := session.CheckName(o.name); err != nil {
			return nil, fmt.Errorf("--name: %w", err)
		}
	}
	err := errors.Join(o.checkStored(), o.checkViews())
	if err != nil {
		return nil, err
	}
	if c.vantages, err = parseVantages(o.vantage); err != nil {
		return nil, err
	}
	if c.image, err = o.collectors.Image(); err != nil {
		return nil, err
	}
	if c.format, err = capture.ParseFormat(o.format); err != nil {
		return nil, fmt.Errorf("--format: %w", err)
	}
	if c.interfaces, err = o.filters.names(); err != nil {
		return nil, err
	}
	if c.filter, err = o.filters.compile(o.streams.ErrOut, o.lookup); err != nil {
		return nil, err
	}
	// The namespace matters only for what it cannot be; the real one follows.
	c.selection, err = o.request.Selection()
	return c, err
}

// stored reports whether the nodes store the capture, instead of streaming it.
func (o *createOptions) stored() bool {
	return o.noWait || o.destinations.Any() || o.write == "" && destination.InEnvironment(os.Getenv)
}

// maxKeep bounds how long a capture stays.
const maxKeep = 7 * 24 * time.Hour

func (o *createOptions) checkStored() error {
	switch {
	case o.keep < time.Minute || o.keep > maxKeep:
		return fmt.Errorf("--keep %s is not between 1m and %s", o.keep, maxKeep)
	case o.fileCount < 0 || o.fileCount > wire.MaxFileCount:
		return fmt.Errorf("--file-count %d is not between 0 and %d", o.fileCount, wire.MaxFileCount)
	case o.fileCount > 0 && !o.stored():
		return hint.Wrap(errors.New("--file-count is for captures that nodes store"), "add --no-wait or a destination such as --host-path")
	case o.fileCount > 0 && o.maxSizeMB == 0:
		return errors.New("--file-count needs --max-size, the size of each file")
	case o.patience < 0 || o.patience > maxCapture:
		return fmt.Errorf("--pod-running-timeout %s is not between 0 and %s", o.patience, maxCapture)
	case o.maxNodes < 0:
		return fmt.Errorf("--max-nodes %d is negative", o.maxNodes)
	case o.noWait && o.write != "":
		return hint.Wrap(errors.New("--no-wait and --write exclude each other"), "later: kubectl retina capture download NAME")
	case o.noWait && o.duration == 0 && o.maxSizeMB == 0 && o.packetCount == 0:
		return hint.Wrap(errors.New("--no-wait without an end: --duration, --max-size and --packet-count are all 0"), "give one of them")
	}
	return o.destinations.Check()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// interrupted ends a capture that the user ended.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return exit.With(exit.Interrupted, errors.New("interrupted before the capture began: nothing was captured"))
}
