//go:build linux

// Command kernels runs the tests of the BPF programs, and the collector itself, on
// the kernels of Debian's releases: each boots in an emulated virtual machine from
// an initramfs that holds them. It needs neither root nor KVM, only time.
//
//	kernels [-kernel NAME,...] [-suite REGEXP] [-run REGEXP] [-fresh] [-update FILE]
//
// Kernels are kept unpacked in RETINA_E2E_CACHE, as the e2e cluster's programs are;
// what a machine printed is in kernels/NAME.log there.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/plan"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := start(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		if advice := hint.Of(err); advice != "" {
			fmt.Fprintln(os.Stderr, "hint:", advice)
		}
		os.Exit(1)
	}
}

// noSuite instead of a regexp runs no tests.
const noSuite = "none"

// options are the flags.
type options struct {
	kernels     []release
	suite, run  string
	update      string
	fresh       bool
	machineTime time.Duration
}

func start(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	settings, err := lab.FromEnvironment()
	if err != nil {
		return err
	}
	cache := filepath.Join(settings.Cache, "kernels")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return hint.Wrap(err, "set RETINA_E2E_CACHE to a directory for the kernels")
	}
	var kernels []kernel
	for _, r := range o.kernels {
		k, err := fetch(ctx, r, cache, o.fresh)
		if err != nil {
			return err
		}
		kernels = append(kernels, k)
	}
	return o.testAll(ctx, kernels, cache, stdout, stderr)
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{}
	var names []string
	for _, r := range releases() {
		names = append(names, r.name)
	}
	flags := flag.NewFlagSet("kernels", flag.ContinueOnError)
	flags.SetOutput(stderr)
	chosen := flags.String("kernel", strings.Join(names, ","), "run on the kernels of these `releases`")
	flags.StringVar(&o.suite, "suite", "", "run the tests of packages that match this `regexp` only, and do not ask the collector; "+noSuite+" does the opposite")
	flags.StringVar(&o.run, "run", "", "run tests that match this `regexp` only")
	flags.StringVar(&o.update, "update", "", "write the table between the markers of this `file`")
	flags.BoolVar(&o.fresh, "fresh", false, "get the newest kernels, instead of those that are there")
	flags.DurationVar(&o.machineTime, "limit", 45*time.Minute, "end each machine after this `time`")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	for name := range strings.SplitSeq(*chosen, ",") {
		i := slices.Index(names, name)
		if i < 0 {
			return o, fmt.Errorf("unknown kernel %q: there are %s", name, strings.Join(names, ", "))
		}
		o.kernels = append(o.kernels, releases()[i])
	}
	if o.update != "" && (o.suite != "" || o.run != "") {
		return o, errors.New("-update needs all tests: the table says how many have passed")
	}
	return o, nil
}

// testAll tests one kernel after the other, and prints the table.
func (o options) testAll(ctx context.Context, kernels []kernel, logs string, stdout, stderr io.Writer) error {
	catalogue, err := retina.Catalog()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "kernels")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	only := regexp.MustCompile("^$")
	if o.suite != noSuite {
		if only, err = regexp.Compile(o.suite); err != nil {
			return err
		}
	}
	b, err := build(ctx, only, dir)
	if err != nil {
		return err
	}
	if len(b.suites) == 0 && o.suite != noSuite {
		return fmt.Errorf("no tested package is like %q", o.suite)
	}
	p := plan.Plan{}
	for _, s := range b.suites {
		p.Suites = append(p.Suites, plan.Suite{Name: s.name, Run: o.run, Limit: suiteLimit})
	}
	if o.suite == "" || o.suite == noSuite {
		p.Probes = probes(catalogue)
	}
	var outcomes []*outcome
	var wrong []error
	for _, k := range kernels {
		fmt.Fprintf(stderr, "Linux %s (%s)\n", k.version, k.name)
		outcome, err := o.testOne(ctx, k, b, p, logs, stderr)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		outcomes = append(outcomes, outcome)
		for _, problem := range outcome.problems(func(plugin string) string { return catalogue.Plugin(plugin).Kernel }) {
			wrong = append(wrong, fmt.Errorf("Linux %s: %s", k.version, problem))
		}
	}
	if len(p.Probes) == 0 || o.run != "" {
		return errors.Join(wrong...)
	}
	table := render(outcomes, p.Probes)
	fmt.Fprint(stdout, table)
	if len(wrong) == 0 && o.update != "" {
		return update(o.update, table)
	}
	return errors.Join(wrong...)
}

func (o options) testOne(ctx context.Context, k kernel, b *built, p plan.Plan, logs string, stderr io.Writer) (*outcome, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.machineTime, fmt.Errorf("took longer than %s", o.machineTime))
	defer cancel()
	progress := &progress{to: stderr}
	outcome, err := test(ctx, k, b, p, logs, progress.tell)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("Linux %s: %w", k.version, context.Cause(ctx))
	}
	return outcome, err
}
