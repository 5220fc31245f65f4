package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/collectors"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/version"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// maxHelperRun bounds the life of a collector that serves files.
const maxHelperRun = 12 * time.Hour

// helpers are short-lived collectors that serve the archives of nodes' disks and
// of volumes. They start when they are first needed.
type helpers struct {
	image       string
	pullSecrets []string

	existing *existing
	tell     func(string)

	mu   sync.Mutex
	runs map[session.Storage]*session.Run
	all  map[helperKey]*helper
}

type helperKey struct {
	node    string
	storage session.Storage
}

func (h *helpers) addFlags(f *pflag.FlagSet) {
	f.StringVar(&h.image, "image", "", "image of the collectors that read nodes' disks and volumes (default $"+collectors.ImageVariable+", else "+version.CollectorImage()+")")
	f.StringSliceVar(&h.pullSecrets, "image-pull-secret", nil, "secrets of the namespace to pull the image with")
}

// check settles the image.
func (h *helpers) check() (err error) {
	h.image, err = collectors.Image(h.image)
	return exit.With(exit.Usage, err)
}

// open readies helpers for e's cluster; tell is told what they wait for.
func (h *helpers) open(e *existing, tell func(string)) {
	h.existing, h.tell = e, tell
	h.runs, h.all = make(map[session.Storage]*session.Run), make(map[helperKey]*helper)
}

// close ends all helpers.
func (h *helpers) close(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, run := range h.runs {
		errs = append(errs, run.Close(ctx))
	}
	return errors.Join(errs...)
}

// on returns the helper for a node, or with a volume for whichever node it is on
// first. There is one pod for each.
func (h *helpers) on(node string, storage session.Storage) *helper {
	storage.StagingBytes = 0
	h.mu.Lock()
	defer h.mu.Unlock()
	key := helperKey{storage: storage}
	if storage.PVC == "" {
		key.node = node
	}
	if h.all[key] == nil {
		h.all[key] = &helper{helpers: h, node: node, storage: storage}
	}
	return h.all[key]
}

// run returns the run of the helpers with this storage.
func (h *helpers) run(ctx context.Context, storage session.Storage) (*session.Run, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if run := h.runs[storage]; run != nil {
		return run, nil
	}
	mounted := storage
	mounted.Existing = true // a path that is not there is not made
	run, err := session.Open(ctx, session.Config{
		Client: h.existing.cluster.Client, Executor: h.existing.executor, Namespace: h.existing.namespace(),
		Image: h.image, PullSecrets: h.pullSecrets, Storage: &mounted, MaxRun: maxHelperRun,
		Events: func(e session.Event) {
			if e.Phase != session.PhaseReady {
				h.tell(fmt.Sprintf("starting a collector that reads the disk of node %s: %s", e.Node, e.Phase))
			}
		},
	})
	if err != nil {
		return nil, err
	}
	h.runs[storage] = run
	return run, nil
}

// A helper is one collector that serves files: one request at a time.
type helper struct {
	helpers *helpers
	node    string
	storage session.Storage

	mu      sync.Mutex
	session *session.Session
	dir     wire.DirDestination // that it serves
}

// ask makes a request and gives hear what is answered until that returns errSeen.
// The directory's Mount is the helper's own.
func (h *helper) ask(ctx context.Context, dir wire.DirDestination, kind wire.Kind, request any, hear func(wire.Kind, []byte) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.start(ctx, dir); err != nil {
		return err
	}
	used := h.session
	defer context.AfterFunc(ctx, func() { _ = used.Close() })()
	err := h.session.TellJSON(ctx, kind, request)
	buf := make([]byte, frameBuffer)
	for err == nil {
		var kind wire.Kind
		var payload []byte
		if kind, payload, err = h.session.ReadFrame(buf); err != nil {
			break
		}
		if kind == wire.KindFailure {
			err = failureFrame(h.node, payload)
			break
		}
		err = hear(kind, payload)
	}
	if errors.Is(err, errSeen) {
		return nil
	}
	h.stop() // what it sends next would be of this request
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// start starts the collector unless it serves dir already.
func (h *helper) start(ctx context.Context, dir wire.DirDestination) error {
	dir.Mount, dir.Keep = wire.HostMount, 0
	if h.storage.PVC != "" {
		dir.Mount = wire.PVCMount
	}
	if h.session != nil && h.dir == dir {
		return nil
	}
	h.stop()
	run, err := h.helpers.run(ctx, h.storage)
	if err != nil {
		return err
	}
	s, err := run.Start(ctx, h.node, wire.Spec{Files: &wire.FilesSpec{Dir: dir}})
	if err != nil {
		return err
	}
	h.session, h.dir = s, dir
	return nil
}

func (h *helper) stop() {
	if h.session != nil {
		_ = h.session.Close() // its pod ends with that, and is deleted with the run
		h.session = nil
	}
}

// list returns the archives in dir whose names begin with prefix.
func (h *helper) list(ctx context.Context, dir wire.DirDestination, prefix string) ([]wire.File, error) {
	var files wire.Files
	err := h.ask(ctx, dir, wire.KindList, wire.ListFiles{Prefix: prefix}, func(kind wire.Kind, payload []byte) error {
		return answer(kind, wire.KindFiles, payload, &files)
	})
	return files.Files, err
}

// remove deletes an archive in dir.
func (h *helper) remove(ctx context.Context, dir wire.DirDestination, name string) error {
	var done wire.Deleted
	err := h.ask(ctx, dir, wire.KindDelete, wire.DeleteFile{Name: name}, func(kind wire.Kind, payload []byte) error {
		return answer(kind, wire.KindDeleted, payload, &done)
	})
	if err == nil && done.Error != "" {
		err = errors.New(clean(done.Error))
	}
	return err
}

// answer reads the one frame that answers a request.
func answer(kind, want wire.Kind, payload []byte, into any) error {
	if kind != want {
		return nil
	}
	if err := json.Unmarshal(payload, into); err != nil {
		return fmt.Errorf("collector's frame of kind %d: %w", kind, err)
	}
	return errSeen
}

// A dirOrigin is a directory of a node's disk or of a volume.
type dirOrigin struct {
	helper *helper
	dir    wire.DirDestination
	name   string // of the archive there
}

func (o dirOrigin) where() string {
	if o.helper.storage.PVC != "" {
		return o.dir.Name
	}
	return o.dir.Name + " of node " + o.helper.node
}

func (o dirOrigin) fetch(ctx context.Context, a *fetchedArchive, moved func(int64)) (wire.Fetched, error) {
	r := receive{archive: a, moved: moved}
	err := o.helper.ask(ctx, o.dir, wire.KindFetch, wire.Fetch{Name: o.name, Offset: a.bytes}, r.take)
	if err == nil && !r.done {
		err = errNotWhole
	}
	return r.whole, err
}
