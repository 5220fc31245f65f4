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

// Run is one collector, from hello to end. ctx ends it in order, as the signal
// that the pod is being deleted. The error says why it ended early; it has
// been sent as a Failure frame when the stream still worked.
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
	if err == nil || errors.Is(err, errUnheard) {
		return err
	}
	// The stream may be what failed; then nobody hears this either.
	failure := wire.Failure{Cause: err.Error(), Hint: hint.Of(err)}
	return errors.Join(err, send.json(wire.KindFailure, failure), send.end(wire.End{Reason: wire.EndFailure}))
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

// errUnheard ends a collector whose command is gone: there is nobody to tell.
var errUnheard = errors.New("the command is gone")

// run is the state of one collector.
type run struct {
	send     *sender
	commands *commands
	silence  *time.Timer
	deadline <-chan time.Time
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

	plugin, err := packets.Open(spec.Packets)
	if err != nil {
		return err
	}
	ready := plugin.Ready()
	if warning := r.excludeOwnStream(spec.Packets, plugin); warning != "" {
		ready.Warnings = append(ready.Warnings, warning)
	}
	if err := r.send.json(wire.KindReady, ready); err != nil {
		return errors.Join(err, plugin.Close())
	}
	c := &capture{run: r, plugin: plugin}
	err = c.execute(ctx)
	return errors.Join(err, plugin.Close())
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
			return wire.Spec{}, fmt.Errorf("%w before it sent a spec: %w", errUnheard, r.commands.err)
		case <-r.silence.C:
			return wire.Spec{}, fmt.Errorf("%w: no spec for %s", errUnheard, wire.Silence)
		case <-ctx.Done():
			return wire.Spec{}, errors.New("the collector pod is being deleted")
		}
	}
}
