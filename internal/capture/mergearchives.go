package capture

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// archiveWindowTime is longer than a merge of archives takes: a slow disk must not
// put packets out of order.
const archiveWindowTime = 1000 * time.Hour

// MergeArchives merges the archives at paths into one output, as NewMerger and Run
// do with streams: the Result has one source for each archive, in the order of
// paths. Names that the archives have are added to opts.Names. Memory is bounded,
// whatever their sizes.
//
// An archive that is damaged or ends early makes the Result incomplete; the error
// in its SourceResult names it, and the packets before the damage are in the
// output. The error of MergeArchives is about the output or is ctx's.
func MergeArchives(ctx context.Context, paths []string, out *Output, opts Options) (Result, error) {
	var opened []*ArchiveSource
	defer func() {
		for _, a := range opened {
			_ = a.Close() // it was only read
		}
	}()
	pace, sources := newPacer(len(paths)), make([]Source, 0, len(paths))
	for i, path := range paths {
		a, err := OpenArchive(path)
		if err != nil {
			pace.pass(i, maxTime)
			node := strings.TrimSuffix(filepath.Base(path), archive.Extension)
			sources = append(sources, Source{Node: node, Frames: unreadable{err}})
			continue
		}
		opened = append(opened, a)
		sources = append(sources, a.source(pace, i))
		opts.Names = mergeNames(opts.Names, a.Names())
		opts.span(a.Record())
	}
	stop := opts.Stop
	opts.Stop = func() {
		for _, a := range opened {
			a.frames.endSoon()
		}
		pace.free()
		if stop != nil {
			stop()
		}
	}
	ended := opts.Ended
	opts.Ended = func(source int, err error) {
		pace.pass(source, maxTime)
		if ended != nil {
			ended(source, err)
		}
	}
	opts.WindowTime = max(opts.WindowTime, archiveWindowTime)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errors.New("merge has ended"))
	defer context.AfterFunc(ctx, pace.free)()
	return NewMerger(sources, out, opts).Run(ctx)
}

// span widens the time of the capture by that of an archive.
func (o *Options) span(record *archive.Record) {
	startNS, endNS := record.Start.UnixNano(), record.End.UnixNano()
	if record.Start.IsZero() || record.End.IsZero() {
		return
	}
	startNS, endNS = saturatingAdd(startNS, record.ClockCorrectionNS), saturatingAdd(endNS, record.ClockCorrectionNS)
	if o.startNS == 0 || startNS < o.startNS {
		o.startNS = startNS
	}
	o.endNS = max(o.endNS, endNS)
}

// unreadable is the frames of an archive that cannot be opened.
type unreadable struct{ err error }

// ReadFrame implements FrameReader.
func (u unreadable) ReadFrame([]byte) (wire.Kind, []byte, error) { return 0, nil, u.err }
