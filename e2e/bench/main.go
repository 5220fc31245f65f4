//go:build linux

// Program bench measures the numbers that the project promises, each beside what
// it is compared with and in the same run, and prints them as one table. It runs
// the real programs of bin/ and dist/, on the e2e cluster where a cluster is
// needed, and in network namespaces of its own. A number that misses its target
// is said, and fails nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

func main() {
	// Children are told when their parent dies, and the kernel means the thread
	// that started them: this one lives as long as the program.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "interrupted")
		os.Exit(130)
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "error:", err)
		if text := hint.Of(err); text != "" {
			fmt.Fprintln(os.Stderr, "hint:", text)
		}
		os.Exit(1)
	}
}

// Commands that bench starts itself with, to have something measured that is a
// process of its own as what it is compared with is.
const (
	floorCommand = "floor"
	mergeCommand = "merge"
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 1 && args[0] == floorCommand {
		return runFloor(ctx, args[1:], stdout)
	}
	if len(args) > 1 && args[0] == mergeCommand {
		return runMerge(ctx, args[1], args[2:])
	}
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("bench makes network namespaces and loads BPF programs: it needs root")
	}
	b, err := newBench(ctx, o, stderr)
	if err != nil {
		return err
	}
	report := report{Machine: describeMachine(ctx, b.dir), Rounds: o.runs}
	var errs []error
	for _, part := range parts() {
		if !slices.Contains(o.only, part.name) || ctx.Err() != nil {
			continue
		}
		rows, err := part.measure(b, ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", part.name, err))
		}
		for _, r := range rows {
			r.Part = part.name
			report.Rows = append(report.Rows, r)
		}
	}
	errs = append(errs, b.close())
	switch {
	case len(report.Rows) == 0:
	case o.json:
		errs = append(errs, report.writeJSON(stdout))
	default:
		errs = append(errs, report.writeTable(stdout))
	}
	return errors.Join(errs...)
}

// A part is a group of numbers that are measured together.
type part struct {
	name    string
	measure func(*bench, context.Context) ([]row, error)
}

func parts() []part {
	return []part{
		{"capture", (*bench).measureCapture},
		{"flood", (*bench).measureFlood},
		{"merge", (*bench).measureMerge},
		{"static", (*bench).measureStatic},
		{"metrics", (*bench).measureMetrics},
		{"filter", (*bench).measureFilter},
	}
}

type options struct {
	only  []string
	runs  int
	build bool
	json  bool
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var names []string
	for _, part := range parts() {
		names = append(names, part.name)
	}
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", strings.Join(names, ","), "measure these parts")
	flags.IntVar(&o.runs, "runs", 5, "measure this many `times`")
	noBuild := flags.Bool("no-build", false, "measure bin/ and dist/ as they are")
	output := flags.String("o", "", "print `json` instead of a table")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.only, o.build, o.json = strings.Split(*only, ","), !*noBuild, *output == "json"
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			return o, fmt.Errorf("--only %s: there are %s", name, strings.Join(names, ", "))
		}
	}
	switch {
	case o.runs < 1:
		return o, fmt.Errorf("--runs %d: want at least 1", o.runs)
	case *output != "" && *output != "json":
		return o, fmt.Errorf("-o %s: want json", *output)
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return o, nil
}
