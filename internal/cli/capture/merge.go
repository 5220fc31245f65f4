package capture

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// merge makes one file of the nodes' archives, which are then not needed here any
// more. When that fails they stay.
func (s *storing) merge(ctx context.Context) error {
	r := s.run
	var paths []string
	for _, n := range s.nodes {
		if fetched := s.states[n].fetched; fetched != "" {
			paths = append(paths, fetched)
		}
	}
	if len(paths) == 0 {
		return errors.Join(r.output.Discard(), os.RemoveAll(r.merging))
	}
	r.narrator.Status("merging " + plural(len(paths), "archive"))
	result, err := capture.MergeArchives(ctx, paths, r.output.Output, capture.Options{Section: r.section(s.nodes)})
	if err == nil {
		for _, source := range result.Sources {
			err = errors.Join(err, source.Err)
		}
	}
	if errors.Is(err, capture.ErrReaderClosed) {
		err = nil // the reader had enough, as head(1) does
	}
	if err != nil {
		return hint.Wrap(fmt.Errorf("merge archives: %w", err), "they are in "+r.merging)
	}
	return os.RemoveAll(r.merging)
}
