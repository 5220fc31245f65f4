package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/destination"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
)

const downloadLong = `Bring a capture here: the archives of all its nodes, from wherever they are, and
merge them into one pcapng.

Where they are is known while the capture is in the cluster: with collectors
that wait, in the nodes' host path, in a volume, in a blob container or an S3
bucket. For the last two, pass the flags with their credentials again; a SAS
needs the permission to read. When the capture is not in the cluster any more,
the flags say where to look, and NAME is how the archives' names begin.

Nothing is deleted, but for collectors that wait: when everything is safely in
files here, they end. A download that was cut is gone on with by the next one.`

const downloadExample = `  # into night.pcapng, from wherever it is
  kubectl retina capture download night

  # straight into tshark
  kubectl retina capture download night --write - | tshark -r -

  # the nodes' archives with their metadata, from a blob container
  kubectl retina capture download night --raw --blob-url-file sas.txt

  # a capture that is not listed any more, from the disks of two nodes
  kubectl retina capture download night --host-path . --node n1,n2`

// downloadOptions are the flags of capture download.
type downloadOptions struct {
	existing
	places destination.Flags
	helpers
	nodes []string
	time  string
	dir   string
	write string
	raw   bool
	quiet bool
}

// NewDownload returns the command.
func NewDownload(flags *kube.Flags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &downloadOptions{existing: newExisting(flags, streams)}
	cmd := &cobra.Command{
		Use:     "download NAME",
		Short:   "Bring the archives of a capture here, as one file",
		Long:    downloadLong,
		Example: downloadExample,
		Args:    someNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := captureNames(args)
			if err == nil {
				err = o.check()
			}
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), names[0])
		},
		ValidArgsFunction: o.completeNames(1),
	}
	o.addFlags(cmd.Flags())
	completeFlags(cmd, "dir", "write", "blob-url-file")
	return cmd
}

func (o *downloadOptions) addFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&o.dir, "dir", ".", "the directory to write to")
	f.StringVar(&o.write, "write", "", "the merged file, or - for standard output (default NAME.pcapng in --dir)")
	f.BoolVar(&o.raw, "raw", false, "keep the nodes' archives as they are, instead of merging them")
	f.StringSliceVar(&o.nodes, "node", nil, "only of these nodes")
	f.StringVar(&o.time, "time", "", "of several captures with this name, that of this time, as archives' names have it")
	o.places.AddTo(f, false)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print only warnings and errors")
	o.helpers.addFlags(f)
}

// completeFlags completes no flag but those with files as values.
func completeFlags(cmd *cobra.Command, files ...string) {
	cmd.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
		for _, name := range files {
			if flag.Name == name {
				return
			}
		}
		_ = cmd.RegisterFlagCompletionFunc(flag.Name, cobra.NoFileCompletions) // the flag exists
	})
}

var timePattern = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z$`)

func (o *downloadOptions) check() error {
	switch {
	case o.raw && o.write != "":
		return hint.Wrap(exit.Usagef("--raw and --write exclude each other"), "--dir says where archives go")
	case o.dir == "":
		return exit.Usagef("--dir is empty")
	case o.time != "" && !timePattern.MatchString(o.time):
		return hint.Wrap(exit.Usagef("--time %q is not the time of an archive", o.time), "write it as 20261122T160000Z")
	case o.write == capture.Stdout && isTerminal(o.streams.Out):
		return hint.Wrap(exit.Usagef("--write - would write packets to the terminal"), "pipe it into tshark -r -, or name a file")
	}
	if err := o.helpers.check(); err != nil {
		return err
	}
	return exit.With(exit.Usage, o.places.Check())
}

func (o *downloadOptions) run(ctx context.Context, name string) error {
	if info, err := os.Stat(o.dir); err != nil || !info.IsDir() {
		return hint.Wrap(exit.Usagef("--dir %s is not a directory", o.dir), "create it first")
	}
	if err := o.connect(); err != nil {
		return err
	}
	d := &download{downloadOptions: o, name: name, narrator: newNarrator(o.streams.ErrOut, o.quiet)}
	defer d.narrator.Close()
	o.helpers.open(&o.existing, d.narrator.Status)
	err := d.run(ctx)
	d.narrator.Status("cleaning up")
	if d.joined != nil {
		_ = d.joined.Close(ctx) // it owns nothing
	}
	if closeErr := o.helpers.close(ctx); closeErr != nil {
		d.narrator.Warn("clean up: " + closeErr.Error())
	}
	if err != nil && ctx.Err() != nil {
		d.narrator.Info("interrupted: the next download goes on from here")
		return exit.With(exit.Interrupted, exit.ErrSilent)
	}
	return err
}

// A download is one execution of capture download.
type download struct {
	*downloadOptions
	name     string
	narrator *narrator
	output   *capture.Output // of the merged file; nil for --raw
	resumed  bool            // an earlier download has left archives
	archives []*wanted
	joined   *session.Run // of the capture's collectors; nil: it has none
	known    []string     // the cluster's nodes; nil: nobody has asked
}

func (d *download) run(ctx context.Context) error {
	d.narrator.Status("looking for " + d.name)
	if err := d.plan(ctx); err != nil {
		return err
	}
	if err := d.openOutput(ctx); err != nil {
		return err
	}
	if err := d.fetchAll(ctx); err != nil {
		return errors.Join(err, d.discard())
	}
	saved := d.saved()
	if len(saved) == 0 {
		return errors.Join(exit.With(exit.Failed, exit.ErrSilent), d.discard())
	}
	whole := len(saved) == len(d.archives)
	if err := d.deliver(ctx, saved, whole); err != nil {
		return err
	}
	d.release(ctx, saved)
	if !whole {
		return exit.With(exit.Partial, exit.ErrSilent)
	}
	return nil
}

// merging is where archives are until they are merged. It stays when something
// fails, for the next download to go on with.
func (d *download) merging() string { return filepath.Join(d.dir, d.name+".download") }

// staging is where archives are brought to.
func (d *download) staging() string {
	if d.raw {
		return d.dir
	}
	return d.merging()
}

// path is that of the merged file.
func (d *download) path() string {
	if d.write != "" {
		return d.write
	}
	return filepath.Join(d.dir, d.name+".pcapng")
}

// openOutput opens the merged file, so that a path that cannot be written to is
// an error before anything is downloaded.
func (d *download) openOutput(ctx context.Context) error {
	if d.raw {
		return nil
	}
	if _, err := os.Stat(d.staging()); err == nil {
		d.resumed = true
	}
	path := d.path()
	if _, err := os.Lstat(path); err == nil && d.write == "" && !d.resumed {
		return hint.Wrap(fmt.Errorf("%s is there already", path), "move it away, or name another file with --write")
	}
	if err := os.MkdirAll(d.staging(), 0o700); err != nil {
		return fmt.Errorf("save archives: %w", err)
	}
	format := capture.Pcapng
	if strings.HasSuffix(path, ".pcap") {
		format = capture.Pcap
	}
	var err error
	d.output, err = capture.OpenOutput(ctx, path, d.streams.Out, format)
	if err != nil && !d.resumed {
		_ = os.Remove(d.staging())
	}
	return err
}

// discard takes back an output that nothing was written to, and the directory if
// nothing is in it.
func (d *download) discard() error {
	if d.output == nil {
		return nil
	}
	_ = os.Remove(d.staging()) // which fails as long as it is of use
	return d.output.Discard()
}

// saved are the archives that are here.
func (d *download) saved() []*wanted {
	var saved []*wanted
	for _, w := range d.archives {
		if w.path != "" {
			saved = append(saved, w)
		}
	}
	return saved
}
