package capture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
)

// An output is where a capture goes: a file, and who looks on.
type output struct {
	*capture.Output
	file      string // "": none is written
	views     []io.Closer
	wireshark *wireshark // nil: none; else one of views
}

// open opens the output. A named pipe may have to wait for its reader.
func (r *captureRun) open(ctx context.Context) (*output, error) {
	o := &output{file: r.path()}
	if o.file != "" {
		if info, err := os.Stat(o.file); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
			waiting := time.AfterFunc(pipePatience, func() { r.narrator.Info("waiting for a reader of " + o.file) })
			defer waiting.Stop()
		}
		var err error
		if o.Output, err = capture.OpenOutput(ctx, o.file, r.streams.Out, r.config.format); err != nil {
			return nil, err
		}
	}
	if r.print != "" {
		p := newLivePrinter(r.streams.Out, r.printFormat())
		o.view("standard output", p, p)
	}
	if r.wireshark {
		o.wireshark = newWireshark(r.wiresharkPath, r.narrator.Warn)
		o.view("Wireshark", o.wireshark, o.wireshark)
	}
	return o, nil
}

// view lets somebody look on, who is then all there is if there is no file.
func (o *output) view(name string, w io.Writer, c io.Closer) {
	if o.views = append(o.views, c); o.Output == nil {
		o.Output = capture.NewStream(name, w, capture.Pcapng)
		return
	}
	o.Also(name, w)
}

// closeViews waits until everything is printed, and ends Wireshark's stream. It may
// be called again.
func (o *output) closeViews() error {
	var errs []error
	for _, v := range o.views {
		errs = append(errs, v.Close())
	}
	o.views = nil
	return errors.Join(errs...)
}

// Close closes the file and the views.
func (o *output) Close() error { return errors.Join(o.closeViews(), o.Output.Close()) }

// Discard is Close for a capture that never began: a new file is removed.
func (o *output) Discard() error { return errors.Join(o.closeViews(), o.Output.Discard()) }

// files are the paths of what is written.
func (o *output) files() []string {
	if o.file == "" {
		return []string{}
	}
	return []string{o.Name()}
}

// path is where the capture goes, "" if it is only looked at.
func (r *captureRun) path() string {
	if r.write != "" || r.viewed() {
		return r.write
	}
	return fmt.Sprintf("%s-%s.%s", cmp.Or(r.name, r.firstTarget()), r.now().UTC().Format("20060102T150405Z"), r.config.format)
}

// outputs says where the capture goes, for a plan.
func (r *captureRun) outputs() []string {
	var all []string
	if path := r.path(); path != "" {
		all = append(all, "file "+path)
	}
	if r.print != "" {
		all = append(all, "standard output, printed")
	}
	if r.wireshark {
		all = append(all, "Wireshark")
	}
	return all
}

// whenClosed ends a capture in order when the user closes Wireshark, also while there
// is nothing to show.
func (o *output) whenClosed(s *stopper, stop func()) {
	if o.wireshark == nil {
		return
	}
	go func() {
		select {
		case <-o.wireshark.ended:
			stop()
		case <-s.ended:
		}
	}()
}
