//go:build linux

package collector

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Socket is where a keeper listens.
const Socket = wire.StagingDirectory + "/control"

const (
	// farewell is how long the last conversations have to hear that all is over.
	farewell = 3 * time.Second
	// terminationMessage is how much of a termination message Kubernetes keeps.
	terminationMessage = 4096
)

// KeepOptions are what a keeper has around it.
type KeepOptions struct {
	Socket      string // where to listen
	Staging     string // directory of the files; others' files in it are left alone
	Termination string // file for the last status, in JSON; "": none
	Log         *slog.Logger
}

// Keep is the main process of a storing collector's pod: it captures into files,
// stores them, and keeps them for whoever wants them, while commands come and go.
// A command talks to it through [Attach].
//
// The first conversation must begin with a spec. Unless it is told to go on
// without (wire.KindDetach), a keeper with whom nobody has talked for
// wire.Silence gives up. ctx ends it at once, as the signal that the pod is being
// deleted. Keep returns when everything is done; an error means
// that packets are lost or not where they should be.
func Keep(ctx context.Context, o KeepOptions) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", o.Socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := os.Chmod(o.Socket, 0o600); err != nil {
		return err
	}
	deleted := ctx
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(deleted, func() { cancel(errDeleted) })()
	k := &keeper{options: o, cancel: cancel, begun: make(chan struct{}), lastSeen: time.Now()}
	go k.accept(ctx, listener)
	go k.attend(ctx)
	return k.keep(ctx)
}

// A keeper is what the conversations have in common.
type keeper struct {
	options KeepOptions
	cancel  context.CancelCauseFunc
	talks   sync.WaitGroup
	begun   chan struct{} // closed when there is a spec

	mu       sync.Mutex
	job      *job // nil without a capture
	files    bool // it serves files, and captures nothing
	talking  int
	lastSeen time.Time // the end of the last conversation
	detached bool
}

var (
	errNobody  = errors.New("nobody has said what to do")
	errDeleted = errors.New("the collector pod is being deleted")
)

// keep waits for a spec, and does what it says.
func (k *keeper) keep(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(firstSession):
		return errNobody
	case <-k.begun:
	}
	if k.job == nil {
		<-ctx.Done() // files are served by the conversations; attend says when to end
		if cause := context.Cause(ctx); !errors.Is(cause, errUnheard) {
			return cause
		}
		return nil
	}
	err := k.job.run(ctx)
	status := k.job.snapshot()
	k.options.Log.Info("end", "phase", status.Phase)
	k.sayFarewell()
	return errors.Join(err, k.leaveWord(status))
}

// sayFarewell waits a moment until those who listen have heard it.
func (k *keeper) sayFarewell() {
	over := make(chan struct{})
	go func() {
		k.talks.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(farewell):
	}
}

// leaveWord leaves the last status for Kubernetes to keep.
func (k *keeper) leaveWord(status wire.Status) error {
	if k.options.Termination == "" {
		return nil
	}
	status.Interfaces = nil
	for {
		text, err := json.Marshal(status)
		if err != nil {
			return err
		}
		if len(text) > terminationMessage && shorten(&status) {
			continue
		}
		return os.WriteFile(k.options.Termination, text, 0o644)
	}
}

// shorten leaves out what can best be done without; false: nothing more can.
func shorten(status *wire.Status) bool {
	if n := len(status.Warnings); n > 0 {
		status.Warnings = status.Warnings[:n-1]
		return true
	}
	longest := &status.Error
	for i := range status.Stores {
		for _, text := range []*string{&status.Stores[i].Error, &status.Stores[i].Hint} {
			if len(*text) > len(*longest) {
				longest = text
			}
		}
	}
	const short = 64
	if n := len(status.Stores); len(*longest) <= short {
		if n > 0 {
			status.Stores = status.Stores[:n-1]
		}
		return n > 0
	}
	*longest = strings.ToValidUTF8((*longest)[:max(short, len(*longest)/2)], "")
	return true
}

func (k *keeper) accept(ctx context.Context, listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second): // too many open files, say: that passes
				continue
			}
		}
		k.enter()
		k.talks.Go(func() {
			defer k.leave()
			defer conn.Close()
			newTalk(k, conn).hold(ctx)
		})
	}
}

func (k *keeper) enter() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.talking++
}

func (k *keeper) leave() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.talking--
	k.lastSeen = time.Now()
}

// attend ends the keeper when nobody is there any more who wants it.
func (k *keeper) attend(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if k.deserted() {
				k.cancel(errUnheard)
				return
			}
		}
	}
}

func (k *keeper) deserted() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	patience := wire.Silence
	switch {
	case k.talking > 0 || k.detached:
		return false
	case k.files:
		patience = nextSession
	case k.job == nil:
		return false // keep has a patience of its own
	}
	return time.Since(k.lastSeen) > patience
}

// begin takes the spec of the first conversation; a second is an error.
func (k *keeper) begin(spec wire.Spec) (*job, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.job != nil || k.files {
		return nil, errors.New("this collector has a spec already")
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	defer close(k.begun)
	if spec.Files != nil {
		k.files = true
		return nil, nil
	}
	if spec.Store == nil {
		k.files = true // nothing comes: it ends with the conversation
		return nil, errors.New("this collector stores, and the spec does not say how")
	}
	k.job = newJob(spec, filepath.Join(k.options.Staging, spec.Store.Archive), k.options.Log)
	return k.job, nil
}

// current returns the job, or nil.
func (k *keeper) current() *job {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.job
}

// detach makes the capture go on without a command.
func (k *keeper) detach() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.detached = true
	if k.job != nil {
		k.job.unattended()
	}
}
