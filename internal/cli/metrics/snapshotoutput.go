package metrics

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics/expect"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics/exposition"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics/print"
)

// tell prints the report, or what --compare and --expect make of it.
func (o *snapshotOptions) tell(ctx context.Context, report, judged *metrics.Report) error {
	verdicts := expect.EvaluateAll(o.expectations, judged)
	if err := o.print(report, judged, verdicts); err != nil {
		return err
	}
	return o.code(ctx, report, verdicts)
}

func (o *snapshotOptions) print(report, judged *metrics.Report, verdicts []expect.Verdict) error {
	out := o.streams.Out
	if o.before != nil {
		if err := o.printChanges(report); err != nil {
			return err
		}
		if o.format == "table" || o.format == "wide" {
			return o.printVerdicts(out, verdicts)
		}
		return o.printVerdicts(o.streams.ErrOut, verdicts)
	}
	shown := *report
	if o.top > 0 {
		shown.Rows = slices.Clone(report.Rows)
		shown.Top(o.top)
	}
	switch o.format {
	case "json":
		return print.JSON(out, withVerdicts(&shown, verdicts))
	case "yaml":
		return print.YAML(out, withVerdicts(&shown, verdicts))
	case "csv":
		if err := print.CSV(out, &shown); err != nil {
			return err
		}
		return o.printVerdicts(o.streams.ErrOut, verdicts)
	case "prometheus":
		if err := exposition.Write(out, judged, exposition.Options{}); err != nil {
			return err
		}
		return o.printVerdicts(o.streams.ErrOut, verdicts)
	case "junit":
		return expect.JUnit(out, "kubectl retina metrics snapshot", report.Ended, verdicts)
	}
	if err := print.Table(out, &shown, o.format == "wide", width(out)); err != nil {
		return err
	}
	return o.printVerdicts(out, verdicts)
}

// judgedReport is a report with its verdicts.
type judgedReport struct {
	*metrics.Report
	Verdicts []expect.Verdict `json:"verdicts,omitempty"`
}

func withVerdicts(report *metrics.Report, verdicts []expect.Verdict) any {
	return judgedReport{Report: report, Verdicts: verdicts}
}

func (o *snapshotOptions) printVerdicts(w io.Writer, verdicts []expect.Verdict) error {
	if len(verdicts) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return expect.Table(w, verdicts, width(w))
}

func (o *snapshotOptions) printChanges(report *metrics.Report) error {
	changes := append([]metrics.Change{}, metrics.Compare(o.before, report)...) // an empty list is not null
	switch o.format {
	case "json":
		return print.JSON(o.streams.Out, changes)
	case "yaml":
		return print.YAML(o.streams.Out, changes)
	}
	return print.Changes(o.streams.Out, changes, o.top, width(o.streams.Out))
}
