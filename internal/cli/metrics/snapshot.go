package metrics

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/narration"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics/expect"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const snapshotLong = `Measure the traffic of pods and nodes for a while, and print what it was.

A collector pod starts on each node that has a target and counts in the kernel.
Then the collectors end and are deleted.

Name targets as for kubectl: TYPE/NAME, several if you like, where TYPE is pod,
deploy, sts, ds, rs, job, cronjob, svc or node; or select pods with -l. Without
any, all pods of the namespace are measured, with -A those of all namespaces.

With --expect the command judges what it has measured and ends with 4 when an
expectation does not hold, with 3 when one could not be measured:

`

const snapshotExample = `  # what the pods of a namespace do, for ten seconds
  kubectl retina metrics snapshot -n shop

  # who talks to a service, by flow, the busiest first
  kubectl retina metrics snapshot svc/web -n shop --duration 5s --by flow --sort-by bytes --top 10

  # fail a CI job when packets are dropped or names are slow
  kubectl retina metrics snapshot -n shop --duration 5s --expect 'drops == 0' --expect 'dns.p99 < 500ms' -o junit

  # before and after a change
  kubectl retina metrics snapshot deploy/web -n shop --duration 5s -o json > before.json
  kubectl retina metrics snapshot deploy/web -n shop --duration 5s --compare before.json`

// formats of -o.
var snapshotFormats = []string{"table", "wide", "json", "yaml", "csv", "prometheus", "junit"}

type snapshotOptions struct {
	*options
	duration time.Duration
	by       string
	sortBy   string
	top      int
	output   string
	compare  string
	expect   []string

	format       string
	group        metrics.By
	expectations []*expect.Expectation
	before       *metrics.Report
}

func newSnapshot(flags *kube.Flags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &snapshotOptions{options: newOptions(flags, streams)}
	cmd := &cobra.Command{
		Use:     "snapshot [TYPE/NAME ...]",
		Short:   "Measure for a while, print the numbers, judge them",
		Long:    snapshotLong + indent(expect.Grammar),
		Example: snapshotExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args); err != nil {
				return exit.With(exit.Usage, err)
			}
			return o.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long to measure")
	f.StringVar(&o.by, "by", string(metrics.ByPod), "what a row stands for: pod, node, workload, namespace, service or flow")
	f.StringVar(&o.sortBy, "sort-by", "", "sort by this column, the largest first; see the columns of -o wide")
	f.IntVar(&o.top, "top", 0, "print so many rows only; 0 is all")
	f.StringVarP(&o.output, "output", "o", "", "table, wide, json, yaml, csv, prometheus, or junit for the verdicts (default table)")
	f.StringArrayVar(&o.expect, "expect", nil, "judge: an expression such as 'drops == 0', may be repeated")
	f.StringVar(&o.compare, "compare", "", "print what has changed since this file, which -o json has written")
	o.addPatience(f)
	o.addTo(cmd)
	fixed := func(flag string, values []string) {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	fixed("output", snapshotFormats)
	fixed("by", groups())
	fixed("sort-by", metrics.SortKeys(metrics.ByPod))
	return cmd
}

func groups() []string {
	return []string{string(metrics.ByPod), string(metrics.ByNode), string(metrics.ByWorkload),
		string(metrics.ByNamespace), string(metrics.ByService), string(metrics.ByFlow)}
}

// complete checks the flags. Its errors are mistakes of the command line.
func (o *snapshotOptions) complete(args []string) error {
	if err := o.options.complete(args); err != nil {
		return err
	}
	if o.duration < wire.MinInterval || o.duration > maxMeasuring {
		return fmt.Errorf("--duration %s is not between %s and %s", o.duration, wire.MinInterval, narration.Duration(maxMeasuring))
	}
	o.group = metrics.By(strings.ToLower(o.by))
	if !slices.Contains(groups(), string(o.group)) {
		return hint.Wrap(fmt.Errorf("--by %q is not one of %s", o.by, strings.Join(groups(), ", ")), didYouMean(o.by, groups()))
	}
	if o.format = strings.ToLower(o.output); o.format == "" {
		o.format = "table"
	}
	if !slices.Contains(snapshotFormats, o.format) {
		return hint.Wrap(fmt.Errorf("-o %q is not one of %s", o.output, strings.Join(snapshotFormats, ", ")), didYouMean(o.format, snapshotFormats))
	}
	if o.top < 0 {
		return fmt.Errorf("--top %d is negative", o.top)
	}
	if o.sortBy != "" {
		if err := (&metrics.Report{By: o.group}).Sort(o.sortBy); err != nil {
			return fmt.Errorf("--sort-by: %w", err)
		}
	}
	for _, text := range o.expect {
		e, err := expect.Parse(text)
		if err != nil {
			return o.wrongExpectation(err)
		}
		o.expectations = append(o.expectations, e)
	}
	if o.format == "junit" && len(o.expectations) == 0 {
		return hint.Wrap(errors.New("-o junit prints verdicts, and there is no --expect"), "add --expect 'drops == 0'")
	}
	return o.readBefore()
}

// wrongExpectation shows the place of an error in an expectation, with a mark below
// it, and returns the error in one line.
func (o *snapshotOptions) wrongExpectation(err error) error {
	var wrong *expect.SyntaxError
	if !errors.As(err, &wrong) {
		return fmt.Errorf("--expect: %w", err)
	}
	if _, place, _ := strings.Cut(wrong.Error(), "\n"); wrong.Text != "" {
		fmt.Fprintln(o.streams.ErrOut, place)
	}
	return hint.Wrap(fmt.Errorf("--expect: %s", wrong.Cause), hint.Of(err))
}

// readBefore reads the report of --compare.
func (o *snapshotOptions) readBefore() error {
	if o.compare == "" {
		return nil
	}
	if o.format == "csv" || o.format == "prometheus" || o.format == "junit" {
		return fmt.Errorf("--compare prints as table, json or yaml, not as %s", o.format)
	}
	file, err := os.Open(o.compare)
	if err != nil {
		return fmt.Errorf("--compare: %w", err)
	}
	defer file.Close()
	if o.before, err = metrics.Read(file); err != nil {
		return hint.Wrap(fmt.Errorf("--compare %s: %w", o.compare, err), "give it a file that metrics snapshot -o json has written")
	}
	if o.before.By != o.group {
		return hint.Wrap(fmt.Errorf("--compare %s: it is by %s, this snapshot by %s", o.compare, o.before.By, o.group),
			fmt.Sprintf("add --by %s", o.before.By))
	}
	return nil
}

// run measures, prints and judges.
func (o *snapshotOptions) run(ctx context.Context) error {
	interval := min(max(o.duration/4, wire.MinInterval), time.Second)
	obs := newObserver(o.options, interval)
	obs.lasts = o.duration
	if err := obs.run(ctx, func(ctx context.Context) error { return o.wait(ctx, obs) }); err != nil {
		return err
	}
	// What is judged is by pod, whatever the report is by.
	report, judged := obs.fold.Report(o.group), obs.fold.Report(metrics.ByPod)
	if o.sortBy != "" {
		if err := report.Sort(o.sortBy); err != nil {
			return err
		}
	}
	return o.tell(ctx, report, judged)
}

// wait waits until the end or an interrupt.
func (o *snapshotOptions) wait(ctx context.Context, obs *observer) error {
	if !obs.narrator.Terminal() {
		obs.narrator.Info("measuring " + narration.Duration(o.duration))
	}
	began := time.Now()
	told := obs.narrator.Progress(func() string {
		return fmt.Sprintf("measuring %s … %s", narration.Duration(o.duration), time.Since(began).Round(time.Second))
	})
	defer told()
	select {
	case <-time.After(o.duration):
	case <-ctx.Done():
	}
	return nil
}

// code is the exit code: what the user wanted to know first, then whether the
// numbers are whole.
func (o *snapshotOptions) code(ctx context.Context, report *metrics.Report, verdicts []expect.Verdict) error {
	failed, unknown := expect.Count(verdicts)
	switch {
	case failed > 0:
		return exit.With(exit.Expectation, fmt.Errorf("%d of %d expectations do not hold", failed, len(verdicts)))
	case unknown > 0:
		return exit.With(exit.Partial, fmt.Errorf("%d of %d expectations could not be measured", unknown, len(verdicts)))
	case ctx.Err() != nil:
		return exit.With(exit.Interrupted, exit.ErrSilent)
	}
	if len(report.Lost) > 0 {
		return exit.With(exit.Partial, errors.New("the numbers are lower bounds: see what was lost"))
	}
	for _, plugin := range o.named {
		if len(report.Nodes) > 0 && !report.Measured(plugin, "") {
			return exit.With(exit.Partial, fmt.Errorf("plugin %s, which --plugins asks for, has measured on no node", plugin))
		}
	}
	for _, s := range report.Skipped {
		if s.Party != nil {
			return exit.With(exit.Partial, exit.ErrSilent) // it has been told about
		}
	}
	for _, n := range report.Nodes {
		if n.Error != "" {
			return exit.With(exit.Partial, exit.ErrSilent) // it has been told about
		}
	}
	return nil
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}
