//go:build linux

// Package collector is the program on the node: it reads a specification, runs
// the plugins that it names, and writes frames, until it is told to stop or
// hears nothing any more.
//
// It talks to nobody but its standard streams, writes no file, and leaves
// nothing behind: whatever it attaches hangs on its own file descriptors.
package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/version"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Run is one collector, from hello to end, and on until the command closes its
// side: what was written last is still on its way when it has been written,
// and the end of this process would cut it off. ctx ends it in order, as the
// signal that the pod is being deleted. The error says why it ended early; it
// has been sent as a Failure frame when the stream still worked.
//
// When Run returns, a write to stdout may still be blocked: the process should
// exit.
func Run(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	send := newSender(stdout)
	hello, err := newHello()
	if err != nil {
		return err
	}
	if err := send.json(wire.KindHello, hello); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	r := &run{send: send, commands: listen(stdin, send), silence: time.NewTimer(wire.Silence)}
	err = r.run(ctx)
	if errors.Is(err, errUnheard) {
		return err
	}
	if err != nil {
		// The stream may be what failed; then nobody hears this either.
		failure := wire.Failure{Cause: err.Error(), Hint: hint.Of(err)}
		err = errors.Join(err, send.json(wire.KindFailure, failure), send.end(wire.End{Reason: wire.EndFailure}))
	}
	r.linger()
	return err
}

func newHello() (wire.Hello, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return wire.Hello{}, fmt.Errorf("uname: %w", err)
	}
	return wire.Hello{
		Version: wire.Version, Collector: version.Get().Version,
		Kernel: unix.ByteSliceToString(uts.Sysname[:]) + " " + unix.ByteSliceToString(uts.Release[:]),
		Arch:   runtime.GOARCH, CPUs: runtime.NumCPU(), TimeNS: time.Now().UnixNano(),
	}, nil
}

// goodbye is how long a collector tries to finish when the command has gone.
const goodbye = time.Second

var (
	// errUnheard ends a collector whose command is gone: there is nobody to tell.
	errUnheard = errors.New("the command is gone")
	errSilent  = fmt.Errorf("%w: no word for %s", errUnheard, wire.Silence)
)

// run is the state of one collector.
type run struct {
	send     *sender
	commands *commands
	silence  *time.Timer
	deadline <-chan time.Time
	// setAddresses changes those of the capture's filter.
	setAddresses func([]wire.FilterAddress) error
}

func (r *run) run(ctx context.Context) error {
	spec, err := r.awaitSpec(ctx)
	if err != nil {
		return err
	}
	if err := spec.Validate(); err != nil {
		return err
	}
	r.deadline = time.After(time.Duration(spec.MaxSeconds) * time.Second)

	if spec.Doctor != nil {
		return r.examine(ctx, spec.Doctor)
	}
	if spec.Metrics != nil {
		return r.measure(ctx, spec.Metrics)
	}
	return r.capturePackets(ctx, spec)
}

func (r *run) capturePackets(ctx context.Context, spec wire.Spec) error {
	plugin, err := packets.Open(spec.Packets)
	if err != nil {
		return err
	}
	ready := plugin.Ready()
	if warning := excludeOwnStream(r.send, spec.Packets, plugin); warning != "" {
		ready.Warnings = append(ready.Warnings, warning)
	}
	if err := r.send.json(wire.KindReady, ready); err != nil {
		return errors.Join(err, plugin.Close())
	}
	r.setAddresses = plugin.SetAddresses
	if err := newCapture(r, spec.Packets, plugin).execute(ctx); err != nil {
		// Others may still add targets, or be stuck in the stream, with the plugin's
		// memory in their hands: the end of the process frees that.
		return errors.Join(err, plugin.Detach())
	}
	return plugin.Close()
}

// linkTypes are by interface ID.
func linkTypes(ready wire.Ready) []uint16 {
	all := make([]uint16, len(ready.Interfaces))
	for n, i := range ready.Interfaces {
		all[n] = i.LinkType
	}
	return all
}

// silent is asked when nothing was heard for wire.Silence. That counts only
// while we are heard ourselves: when the reader at the other end pauses and the
// stream is full, an API server that bridges to WebSocket forwards nothing in
// the other direction either. Should the command be gone then, its lease ends
// the pod.
func (r *run) silent() error {
	if !r.send.stuck() {
		return errSilent
	}
	r.silence.Reset(wire.Silence)
	return nil
}

// wait returns when proceed or stop is signalled, with "" or the reason of the
// end. Nobody being there any more is an error.
func (r *run) wait(ctx context.Context, proceed <-chan struct{}, failed <-chan error) (string, error) {
	for {
		select {
		case <-proceed:
			return "", nil
		case err := <-failed:
			return "", err
		case <-r.commands.heard:
			r.silence.Reset(wire.Silence)
		case changes := <-r.commands.addresses:
			if r.setAddresses == nil {
				return "", errors.New("addresses for a filter that there is not")
			}
			if err := r.setAddresses(changes.Changes); err != nil {
				return "", err
			}
		case <-r.commands.stop:
			return wire.EndStop, nil
		case <-r.commands.ended:
			return "", r.commands.gone()
		case <-r.silence.C:
			if err := r.silent(); err != nil {
				return "", err
			}
		case <-r.deadline:
			return wire.EndDeadline, nil
		case <-ctx.Done():
			return wire.EndSignal, nil
		}
	}
}

// attended does f for as long as somebody is there to see it done.
func (r *run) attended(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	for {
		select {
		case err := <-done:
			return err
		case <-r.commands.heard:
			r.silence.Reset(wire.Silence)
		case <-r.commands.addresses: // too late
		case <-r.commands.ended:
			// The command closes its side when it has what it wanted, which may
			// be what f has just done.
			select {
			case err := <-done:
				return err
			case <-time.After(goodbye):
				return r.commands.gone()
			}
		case <-r.silence.C:
			if err := r.silent(); err != nil {
				return err
			}
		}
	}
}

// linger waits until the command is gone.
func (r *run) linger() {
	_ = r.attended(func() error { <-r.commands.ended; return nil })
}

func (r *run) awaitSpec(ctx context.Context) (wire.Spec, error) {
	for {
		select {
		case spec := <-r.commands.spec:
			return spec, nil
		default:
		}
		select {
		case spec := <-r.commands.spec:
			return spec, nil
		case <-r.commands.heard:
			r.silence.Reset(wire.Silence)
		case <-r.commands.ended:
			return wire.Spec{}, r.commands.gone()
		case <-r.silence.C:
			if err := r.silent(); err != nil {
				return wire.Spec{}, err
			}
		case <-ctx.Done():
			return wire.Spec{}, errors.New("the collector pod is being deleted")
		}
	}
}
