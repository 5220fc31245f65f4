package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/manifest"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
)

// Values of --dry-run.
const (
	dryRunClient = "client"
	dryRunServer = "server"
)

// addManifestFlags adds -f and --dry-run. Call it before addCompletions.
func (o *createOptions) addManifestFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVarP(&o.files, "filename", "f", nil, "take the captures from Retina's Capture manifests: files, directories, or - for standard input")
	_ = cmd.MarkFlagFilename("filename", "yaml", "yml", "json") // the flag exists
	f.StringVar(&o.dryRun, "dry-run", "", "create nothing: client prints the capture as a manifest for -f, server what would be done")
	_ = cmd.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions([]cobra.Completion{dryRunClient, dryRunServer}, cobra.ShellCompDirectiveNoFileComp))
}

// forGiven calls f with the name of each flag of the command that was given.
func (o *createOptions) forGiven(f func(name string)) {
	o.flags.Visit(func(flag *pflag.Flag) {
		if o.own[flag.Name] {
			f(flag.Name)
		}
	})
}

// create does what the command line says, once.
func (o *createOptions) create(ctx context.Context) error {
	o.lookup = o.hosts(ctx)
	switch {
	case len(o.files) > 0:
		return o.createFromFiles(ctx)
	case o.dryRun == dryRunClient:
		if _, err := o.complete(); err != nil {
			return interrupted(ctx, err)
		}
		return o.printManifests([]*createOptions{o})
	}
	config, err := o.complete()
	if err != nil {
		return interrupted(ctx, err)
	}
	if o.dryRun == dryRunServer {
		return newRun(o, config).rehearse(ctx)
	}
	return newRun(o, config).run(ctx)
}

// createFromFiles does what the manifests of -f say: all of it is checked before
// any of it is done.
func (o *createOptions) createFromFiles(ctx context.Context) error {
	captures, skipped, err := readManifests(o.files, o.streams.In)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	if len(captures) > 1 && !o.noWait && o.dryRun == "" {
		return exit.With(exit.Usage, hint.Wrap(fmt.Errorf("-f has %d captures, and only one can be waited for", len(captures)),
			"pass --no-wait to have all of them run at the same time: see capture list"))
	}
	all := make([]*createOptions, len(captures))
	configs := make([]*config, len(captures))
	for i, m := range captures {
		if all[i], err = o.forManifest(m); err != nil {
			return exit.With(exit.Usage, err)
		}
		if configs[i], err = all[i].complete(); err != nil {
			return interrupted(ctx, err)
		}
	}
	for _, text := range append(skipped, ignored(captures)...) {
		fmt.Fprintln(o.streams.ErrOut, "warning:", oneline.Text(text))
	}
	if o.dryRun == dryRunClient {
		return o.printManifests(all)
	}
	return each(ctx, captures, func(i int) error {
		if i > 0 && o.output == "yaml" {
			fmt.Fprintln(o.streams.Out, "---")
		}
		if o.dryRun == dryRunServer {
			return newRun(all[i], configs[i]).rehearse(ctx)
		}
		return newRun(all[i], configs[i]).run(ctx)
	})
}

// each does one capture after the other, and the next one also when one fails.
func each(ctx context.Context, captures []*manifest.Capture, do func(int) error) error {
	var errs []error
	for i := range captures {
		err := do(i)
		if len(captures) == 1 {
			return err
		}
		if ctx.Err() != nil {
			return errors.Join(append(errs, err)...)
		}
		if err != nil {
			errs = append(errs, hint.Wrap(fmt.Errorf("%s: %w", captures[i].Origin, err), hint.Of(err)))
		}
	}
	err := errors.Join(errs...)
	if len(errs) > 0 && len(errs) < len(captures) {
		err = hint.Wrap(exit.With(exit.Partial, err), hint.Of(err))
	}
	return err
}

// forManifest is o for one of several captures: the flags that were given, and
// what m says.
func (o *createOptions) forManifest(m *manifest.Capture) (*createOptions, error) {
	one := &createOptions{kube: o.kube, streams: o.streams, now: o.now, lookup: o.lookup}
	cmd := &cobra.Command{}
	one.addFlags(cmd)
	one.request.Args = o.request.Args
	var err error
	o.forGiven(func(name string) {
		err = errors.Join(err, setFlag(one.flags, name, flagValues(o.flags.Lookup(name))))
	})
	if err != nil {
		return nil, err
	}
	if n := o.flags.Lookup("namespace"); n != nil {
		one.flags.AddFlag(n)
	}
	if err := one.fromManifest(m); err != nil {
		return nil, hint.Wrap(fmt.Errorf("%s: %w", m.Origin, err), hint.Of(err))
	}
	return one, nil
}

// ignored says what of the manifests has no meaning here.
func ignored(captures []*manifest.Capture) []string {
	var all []string
	for _, m := range captures {
		if len(m.Ignored) > 0 {
			all = append(all, m.Origin+": has no meaning here and is ignored: "+strings.Join(m.Ignored, ", "))
		}
	}
	return all
}

// printManifests prints what each of all says.
func (o *createOptions) printManifests(all []*createOptions) error {
	captures := make([]*manifest.Capture, len(all))
	var warnings []string
	for i, one := range all {
		m, unsaid, err := one.toManifest()
		if err != nil {
			return exit.With(exit.Usage, err)
		}
		if len(m.Arguments) > 0 {
			unsaid = append(unsaid, "Retina does not know the annotation "+manifest.AnnotationArguments+", which names the targets")
		}
		captures[i], warnings = m, append(warnings, unsaid...)
	}
	slices.Sort(warnings)
	for _, text := range slices.Compact(warnings) {
		fmt.Fprintln(o.streams.ErrOut, "warning:", oneline.Text(text))
	}
	encode := manifest.YAML
	if o.output == "json" {
		encode = manifest.JSON
	}
	text, err := encode(captures)
	if err == nil {
		_, err = o.streams.Out.Write(text)
	}
	return err
}
