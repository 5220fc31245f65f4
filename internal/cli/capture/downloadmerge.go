package capture

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/version"
)

// mergeArchives merges the archives at paths, all of them of the named capture,
// into out.
func mergeArchives(ctx context.Context, name string, paths []string, out *capture.Output) (capture.Result, error) {
	section := pcapng.Section{
		Application: "kubectl-retina " + version.Get().Version,
		Comments:    []string{"capture " + name},
	}
	var kernels, archs []string
	for _, path := range paths {
		a, err := capture.OpenArchive(path)
		if err != nil {
			continue // the merge says the same
		}
		record := a.Record()
		kernels, archs = append(kernels, clean(record.Kernel)), append(archs, clean(record.Arch))
		if len(record.Selection) > 0 && len(section.Comments) == 1 {
			section.Comments = append(section.Comments, "captured from "+clean(strings.Join(record.Selection, " ")))
		}
		if err := a.Close(); err != nil {
			return capture.Result{}, fmt.Errorf("read archive: %w", err)
		}
	}
	slices.Sort(kernels)
	slices.Sort(archs)
	section.OS, section.Hardware = strings.Join(slices.Compact(kernels), ", "), strings.Join(slices.Compact(archs), ", ")
	return capture.MergeArchives(ctx, paths, out, capture.Options{Section: section})
}
