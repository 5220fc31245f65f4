//go:build linux

package collector

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/store"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// statusPeriod is how often a conversation is told the status without a change.
const statusPeriod = time.Second

// A talk is one conversation of a keeper with a command.
type talk struct {
	keeper *keeper
	conn   net.Conn
	send   *sender
	heard  atomic.Int64 // when, ns since 1970
	pings  chan wire.Ping
	store  store.Store // of a FilesSpec
	tasks  sync.WaitGroup
	over   chan struct{} // closed when the conversation ends
}

func newTalk(k *keeper, conn net.Conn) *talk {
	return &talk{keeper: k, conn: conn, send: newSender(conn), pings: make(chan wire.Ping, 1), over: make(chan struct{})}
}

// hold talks until the command goes. What is wrong is said in the conversation,
// if anybody hears it.
func (t *talk) hold(ctx context.Context) {
	defer t.tasks.Wait()
	defer close(t.over)
	defer t.conn.Close() // lets go of whoever still writes
	defer close(t.pings)
	hello, err := newHello()
	if err == nil {
		err = t.send.json(wire.KindHello, hello)
	}
	if err != nil {
		return
	}
	t.note()
	t.tasks.Go(t.watch)
	t.tasks.Go(t.answerPings)
	if err := t.listen(ctx); err != nil {
		// The stream may be what failed; then nobody hears this either.
		_ = t.send.json(wire.KindFailure, wire.Failure{Cause: err.Error(), Hint: hint.Of(err)})
		t.bye(wire.EndFailure)
	}
}

func (t *talk) note() { t.heard.Store(time.Now().UnixNano()) }

// watch hangs up on a command that is gone. See run.silent.
func (t *talk) watch() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-t.over:
			return
		case now := <-tick.C:
			if now.UnixNano()-t.heard.Load() > int64(wire.Silence) && !t.send.stuck() {
				_ = t.conn.Close()
				return
			}
		}
	}
}

func (t *talk) answerPings() {
	for ping := range t.pings {
		_ = t.send.json(wire.KindPong, wire.Pong{Seq: ping.Seq, TimeNS: time.Now().UnixNano()})
	}
}

// listen does what the command says until it hangs up, which is no error.
func (t *talk) listen(ctx context.Context) error {
	frames := wire.NewReader(bufio.NewReaderSize(t.conn, 64<<10))
	for {
		kind, payload, err := frames.ReadFrame(nil)
		if err != nil {
			return nil
		}
		t.note()
		if err := t.hear(ctx, kind, payload); err != nil {
			return err
		}
	}
}

// hear does what one frame says.
func (t *talk) hear(ctx context.Context, kind wire.Kind, payload []byte) error {
	switch kind {
	case wire.KindPing:
		var ping wire.Ping
		if err := json.Unmarshal(payload, &ping); err != nil {
			return fmt.Errorf("read ping: %w", err)
		}
		offer(t.pings, ping)
		return nil
	case wire.KindSpec:
		spec, err := wire.ParseSpec(payload)
		if err != nil {
			return err
		}
		return t.begin(spec)
	case wire.KindList, wire.KindDelete:
		return t.file(ctx, kind, payload)
	case wire.KindFetch:
		var fetch wire.Fetch
		if err := json.Unmarshal(payload, &fetch); err != nil {
			return fmt.Errorf("read fetch: %w", err)
		}
		t.tasks.Go(func() { t.fetch(ctx, fetch) })
		return nil
	}
	job := t.keeper.current()
	if job == nil {
		return errors.New("this collector has no capture")
	}
	return t.direct(job, kind, payload)
}

// direct tells the capture what one frame says.
func (t *talk) direct(job *job, kind wire.Kind, payload []byte) error {
	switch kind {
	case wire.KindOpen:
		if err := job.excludeStream(t.send); err != nil {
			return err
		}
		t.tasks.Go(func() { t.report(job) })
	case wire.KindHead:
		return job.addHead(payload)
	case wire.KindExtra:
		return job.addExtra(payload)
	case wire.KindRecord:
		job.setRecord(payload)
	case wire.KindAddresses:
		changes, err := parseAddresses(payload)
		if err != nil {
			return err
		}
		return job.setAddresses(changes)
	case wire.KindSeal:
		offer(job.sealed, struct{}{})
	case wire.KindGo:
		offer(job.start, struct{}{})
		t.tasks.Go(func() { t.report(job) })
	case wire.KindStop:
		offer(job.stop, wire.EndStop)
	case wire.KindDetach:
		t.keeper.detach()
		t.bye(wire.EndDetached)
	case wire.KindRelease:
		offer(job.released, struct{}{})
		t.bye(wire.EndReleased)
	default:
		return fmt.Errorf("frame of kind %d is not for a keeper", kind)
	}
	return nil
}

// begin begins what spec says. A capture is attached when this returns.
func (t *talk) begin(spec wire.Spec) error {
	job, err := t.keeper.begin(spec)
	if err != nil {
		return err
	}
	if job == nil {
		t.store, err = store.Open(wire.Destination{Dir: &spec.Files.Dir}, store.Options{})
		return err
	}
	ready, err := job.attach(t.send)
	if err != nil {
		return err
	}
	return t.send.json(wire.KindReady, ready)
}

// report tells the status until the conversation or the capture is over.
func (t *talk) report(job *job) {
	tick := time.NewTicker(statusPeriod)
	defer tick.Stop()
	for {
		changed := job.changes()
		status := job.snapshot()
		if t.send.json(wire.KindStatus, status) != nil {
			return
		}
		if status.Phase == wire.PhaseDone || status.Phase == wire.PhaseFailed {
			t.bye(wire.EndStop)
			return
		}
		select {
		case <-t.over:
			return
		case <-changed:
		case <-tick.C:
		}
	}
}

// bye ends the stream in order. The command hangs up when it has read that.
func (t *talk) bye(reason string) { _ = t.send.end(wire.End{Reason: reason}) }

// fetchFrame is how many bytes of an archive go into a frame.
const fetchFrame = 256 << 10

// fetch sends an archive, or says why not.
func (t *talk) fetch(ctx context.Context, fetch wire.Fetch) {
	done, err := t.fetched(ctx, fetch)
	if err == nil {
		err = t.send.json(wire.KindFetched, done)
	}
	if err != nil {
		_ = t.send.json(wire.KindFailure, wire.Failure{Cause: err.Error(), Hint: hint.Of(err)})
		t.bye(wire.EndFailure)
	}
}

func (t *talk) fetched(ctx context.Context, fetch wire.Fetch) (wire.Fetched, error) {
	w := &frameWriter{send: t.send, skip: fetch.Offset, buf: make([]byte, 0, fetchFrame), hash: sha256.New()}
	job := t.keeper.current()
	var err error
	switch {
	case fetch.Name == "" && job != nil:
		job.fetching.Add(1)
		defer job.fetching.Add(-1)
		err = job.writeArchive(w)
	case fetch.Name != "" && t.store != nil:
		err = w.copyFrom(ctx, t.store, fetch.Name)
	default:
		err = fmt.Errorf("there is no archive %q here", fetch.Name)
	}
	if err == nil {
		err = w.flush()
	}
	return wire.Fetched{Bytes: w.total, SHA256: w.sum()}, err
}

// file answers questions about the directory of a FilesSpec.
func (t *talk) file(ctx context.Context, kind wire.Kind, payload []byte) error {
	if t.store == nil {
		return errors.New("this collector serves no files")
	}
	if kind == wire.KindList {
		var list wire.ListFiles
		if err := json.Unmarshal(payload, &list); err != nil {
			return fmt.Errorf("read list: %w", err)
		}
		objects, err := t.store.List(ctx, list.Prefix)
		if err != nil {
			return err
		}
		answer := wire.Files{Files: []wire.File{}}
		for _, o := range objects {
			answer.Files = append(answer.Files, wire.File{Name: o.Name, Bytes: o.Bytes, ModifiedNS: o.Modified.UnixNano()})
		}
		return t.send.json(wire.KindFiles, answer)
	}
	var remove wire.DeleteFile
	if err := json.Unmarshal(payload, &remove); err != nil {
		return fmt.Errorf("read delete: %w", err)
	}
	answer := wire.Deleted{Name: remove.Name}
	if err := t.store.Delete(ctx, remove.Name); err != nil {
		answer.Error = err.Error()
	}
	return t.send.json(wire.KindDeleted, answer)
}
