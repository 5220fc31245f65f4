package metrics

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/narration"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// A day of warnings does not fill the memory, and one that comes again and again is
// told once.
func TestWarningsAreBounded(t *testing.T) {
	var told bytes.Buffer
	o := &observer{narrator: narration.New(&told, true), warned: map[string]bool{}}
	for i := range 3 * maxWarned {
		o.warn(fmt.Sprintf("pod %d is not measured", i))
		o.warn(fmt.Sprintf("pod %d is not measured", i))
		if len(o.warned) > maxWarned {
			t.Fatalf("%d warnings are remembered", len(o.warned))
		}
	}
	if lines := strings.Count(told.String(), "\n"); lines != 3*maxWarned {
		t.Errorf("%d warnings were told, want %d", lines, 3*maxWarned)
	}
}

// Targets that are not measured are listed as long as they are there.
func TestSkippedEnd(t *testing.T) {
	o := &observer{fold: metrics.NewFold(metrics.Options{})}
	o.skip(metrics.Skipped{Target: "pod a/one", Reason: "x"})
	o.skip(metrics.Skipped{Target: "pod a/two", Reason: "x"})
	o.skip(metrics.Skipped{Target: "pod a/two", Reason: "y"})
	o.unskip("pod a/one")
	o.unskip("pod a/three")
	if got := o.fold.Report(metrics.ByPod).Skipped; len(got) != 1 || got[0].Target != "pod a/two" || got[0].Reason != "y" {
		t.Errorf("skipped are %+v", got)
	}
}
