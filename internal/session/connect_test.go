package session

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestHandshakeFails(t *testing.T) {
	for _, test := range []struct {
		name        string
		collector   func(*collectorEnd) error
		error, hint string
	}{
		{"other version", func(c *collectorEnd) error {
			err := c.out.WriteJSON(wire.KindHello, wire.Hello{Version: wire.Version + 1, Collector: "v9.9.9"})
			return errors.Join(err, c.ignore())
		}, fmt.Sprintf("collector v9.9.9 speaks version %d, this command version %d", wire.Version+1, wire.Version), "check --image"},
		{"failure", func(c *collectorEnd) error {
			return errors.Join(c.hello(), c.out.WriteJSON(wire.KindFailure, wire.Failure{Cause: "kernel 4.19\nhas no BTF", Hint: "use a newer one"}),
				c.out.WriteEnd(wire.End{Reason: wire.EndFailure}))
		}, "node n1: kernel 4.19 has no BTF", "use a newer one"},
		{"end", func(c *collectorEnd) error {
			return errors.Join(c.hello(), c.out.WriteEnd(wire.End{Reason: wire.EndSignal}))
		}, "collector ended before it was ready", ""},
		{"end after ready", func(c *collectorEnd) error {
			return errors.Join(c.hello(), c.ready(), c.out.WriteEnd(wire.End{Reason: wire.EndGone}))
		}, "collector ended as soon as it was ready", ""},
		{"cut after ready", func(c *collectorEnd) error {
			return errors.Join(c.hello(), c.ready(), exitError(1))
		}, "node n1: command terminated with exit code 1: stream was cut", ""},
		{"no hello", (*collectorEnd).ignore, "collector has not said hello after 15s", ""},
		{"no ready", func(c *collectorEnd) error {
			if err := c.hello(); err != nil {
				return err
			}
			for {
				kind, payload, err := c.frames.ReadFrame(nil)
				if err != nil {
					return err
				}
				if kind == wire.KindPing {
					err = c.out.WriteFrame(wire.KindPong, payload)
				}
				if err != nil {
					return err
				}
			}
		}, "collector is not ready after 2m0s", ""},
		{"not a collector", func(c *collectorEnd) error {
			_, err := fmt.Fprint(c.stderr, "retina-collector: bad\nargument \"run\"")
			return errors.Join(err, exitError(2))
		}, `command terminated with exit code 2: stream was cut; collector's standard error: retina-collector: bad argument "run"`, ""},
		{"nonsense", func(c *collectorEnd) error {
			return errors.Join(c.out.WriteFrame(wire.KindHello, []byte("{")), c.ignore())
		}, "frame of kind 1", ""},
		{"out of turn", func(c *collectorEnd) error { return errors.Join(c.ready(), c.ignore()) }, "frame of kind 2 instead of 1", ""},
		{"other targets", func(c *collectorEnd) error {
			return errors.Join(c.hello(), c.out.WriteJSON(wire.KindReady, wire.Ready{Interfaces: []wire.Interface{{Target: 1}}}), c.ignore())
		}, "which the spec does not ask for", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "n1")
				c.collector = test.collector
				run := c.open(t.Context())
				_, err := run.Start(t.Context(), "n1", testSpec())
				wantError(t, err, test.error, test.hint)
				c.close(run)
			})
		})
	}
}

// A Start that is cancelled, wherever it is, says so at once and leaves nothing.
func TestCancel(t *testing.T) {
	for _, test := range []struct {
		name string
		// prepare makes the start get stuck, or cancels by itself.
		prepare func(c *cluster, cancel context.CancelFunc)
	}{
		{"node", func(c *cluster, cancel context.CancelFunc) { c.on("get", "nodes", cancel) }},
		{"lease", func(c *cluster, cancel context.CancelFunc) { c.on("create", "jobs", cancel) }},
		{"create", func(c *cluster, cancel context.CancelFunc) { c.on("create", "pods", cancel) }},
		{"pending", func(c *cluster, _ context.CancelFunc) { c.kubelet = func(*corev1.Pod) {} }},
		{"pulling", func(c *cluster, _ context.CancelFunc) { c.kubelet = c.says("Pulling") }},
		{"hello", func(c *cluster, _ context.CancelFunc) {
			c.collector = (*collectorEnd).ignore
		}},
		{"connecting", func(c *cluster, _ context.CancelFunc) {
			c.collector = func(c *collectorEnd) error { <-c.gone; return nil }
		}},
		{"ready", func(c *cluster, _ context.CancelFunc) {
			c.collector = func(c *collectorEnd) error { return errors.Join(c.hello(), c.ignore()) }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "n1")
				run := c.open(t.Context())
				ctx, cancel := context.WithCancel(t.Context())
				test.prepare(c, cancel)
				began := time.Now()
				time.AfterFunc(time.Second, cancel)
				_, err := run.Start(ctx, "n1", testSpec())
				if !errors.Is(err, context.Canceled) {
					t.Errorf("cancelled Start: %v", err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("returned %s after the cancellation", took-time.Second)
				}
				c.close(run)
			})
		})
	}
}

// on calls f when the API server is asked for this, before it answers.
func (c *cluster) on(verb, resource string, f func()) {
	c.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		f()
		return false, nil, nil
	})
}
