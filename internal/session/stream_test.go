package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A stream that is cut says why, as far as anybody knows.
func TestCut(t *testing.T) {
	// cutWith is a collector that writes half a frame after go and then ends so.
	cutWith := func(end func(c *collectorEnd) error) func(*collectorEnd) error {
		return func(c *collectorEnd) error {
			if err := c.hello(); err != nil {
				return err
			}
			if kind, err := c.next(); kind != wire.KindGo {
				return err
			}
			return errors.Join(c.packets("first"), end(c))
		}
	}
	lost := func(c *collectorEnd) error {
		c.cut()
		return c.ignore()
	}
	for _, test := range []struct {
		name        string
		collector   func(c *cluster) func(*collectorEnd) error
		error, hint string
		atOnce      bool
	}{
		{"connection", func(*cluster) func(*collectorEnd) error { return cutWith(lost) },
			"node n1: next reader: read tcp: connection reset by peer: stream was cut", "", false},
		{"exit code 0 and no end", func(*cluster) func(*collectorEnd) error {
			return cutWith(func(*collectorEnd) error { return nil })
		}, "node n1: no end frame: stream was cut", "", false},
		{"panic", func(*cluster) func(*collectorEnd) error {
			return cutWith(func(c *collectorEnd) error {
				_, err := fmt.Fprint(c.stderr, "panic: index out of range\n\ngoroutine 1 [running]:\n")
				return errors.Join(err, exitError(2))
			})
		}, "exit code 2: stream was cut; collector's standard error: panic: index out of range goroutine 1 [running]:", "", true},
		{"pod deleted", func(c *cluster) func(*collectorEnd) error {
			return cutWith(func(end *collectorEnd) error {
				c.delete(end.pod.Name)
				return exitError(exitKilled)
			})
		}, "was deleted: command terminated with exit code 137: stream was cut", "", true},
		{"out of memory", func(c *cluster) func(*collectorEnd) error {
			return cutWith(func(end *collectorEnd) error {
				go func() { // the kubelet takes its time
					time.Sleep(2 * time.Second)
					c.ends(terminatedWith(corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: exitKilled}))(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: end.pod.Name}})
				}()
				return exitError(exitKilled)
			})
		}, "collector was killed: it reached its memory limit of 192Mi (OOMKilled): command terminated with exit code 137", "", false},
		{"evicted", func(c *cluster) func(*collectorEnd) error {
			return cutWith(func(end *collectorEnd) error {
				c.ends(status("Evicted", "The node was low on resource: ephemeral-storage."))(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: end.pod.Name}})
				return lost(end)
			})
		}, "ended (Evicted): The node was low on resource: ephemeral-storage.: next reader", "", true},
		{"node down", func(c *cluster) func(*collectorEnd) error {
			return cutWith(func(end *collectorEnd) error {
				c.setNode(testNode("n1", corev1.ConditionUnknown, "Kubelet stopped posting node status."))
				return lost(end)
			})
		}, "node n1: node is not ready: Kubelet stopped posting node status.: next reader", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "n1")
				c.collector = test.collector(c)
				run := c.open(t.Context())
				session := c.start(run, "n1")
				if err := session.Go(t.Context()); err != nil {
					t.Fatal(err)
				}
				wantPackets(t, session, "first")
				began := time.Now()
				_, _, err := session.ReadFrame(nil)
				wantError(t, err, test.error, test.hint)
				if !errors.Is(err, wire.ErrCut) {
					t.Errorf("%v is not a cut stream", err)
				}
				if took := time.Since(began); took > explainTimeout || test.atOnce && took > 0 {
					t.Errorf("said so after %s", took)
				}
				if _, _, again := session.ReadFrame(nil); !errors.Is(again, err) {
					t.Errorf("then %v", again)
				}
				if err := session.Stop(t.Context()); !errors.Is(err, errEnded) {
					t.Errorf("Stop of a cut stream: %v", err)
				}
				c.close(run)
			})
		})
	}
}

// A collector that answers pings may have nothing else to say for hours; one
// that does not is given up.
func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		ends := make(chan *collectorEnd, 1)
		c.collector = func(c *collectorEnd) error {
			ends <- c
			return obey(c)
		}
		run := c.open(t.Context())
		session := c.start(run, "n1")
		began := time.Now()
		time.Sleep(10 * time.Minute)
		if err := session.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, session)
		c.close(run)

		pings := (<-ends).pings
		for i := range quickPings {
			if !pings[i].Equal(began) {
				t.Errorf("ping %d after %s, want at once", i, pings[i].Sub(began))
			}
		}
		for i := quickPings; i < len(pings); i++ {
			if gap := pings[i].Sub(pings[i-1]); gap != wire.PingInterval {
				t.Errorf("%s between pings", gap)
			}
		}
		if want := quickPings + int(10*time.Minute/wire.PingInterval); len(pings) < want-1 || len(pings) > want {
			t.Errorf("%d pings in ten minutes, want %d", len(pings), want)
		}
	})
}

func TestNoSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.collector = func(c *collectorEnd) error {
			err := c.hello()
			if err == nil {
				_, err = c.next() // until go
			}
			return errors.Join(err, c.ignore())
		}
		run := c.open(t.Context())
		session := c.start(run, "n1")
		if err := session.Go(t.Context()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, _, err := session.ReadFrame(nil)
		wantError(t, err, "no sign of life from the collector for 20s: stream was cut", "")
		if !errors.Is(err, wire.ErrCut) {
			t.Errorf("%v is not a cut stream", err)
		}
		if took := time.Since(began); took < silence || took > silence+wire.PingInterval+explainTimeout {
			t.Errorf("given up after %s", took)
		}
		c.close(run)
	})
}

// A caller that is busy elsewhere is no silence of the collector's, and
// nothing is lost meanwhile.
func TestSlowReader(t *testing.T) {
	const frames = 100
	big := strings.Repeat("x", 64<<10)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.collector = func(c *collectorEnd) error {
			if err := c.hello(); err != nil {
				return err
			}
			for {
				kind, err := c.next()
				if err != nil {
					return err
				}
				if kind == wire.KindStop {
					return c.out.WriteEnd(wire.End{})
				}
				for range frames {
					if err := c.packets(big); err != nil {
						return err
					}
				}
			}
		}
		run := c.open(t.Context())
		session := c.start(run, "n1")
		if err := session.Go(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		buf := make([]byte, 128<<10)
		for range frames {
			kind, payload, err := session.ReadFrame(buf)
			if err != nil || kind != wire.KindPackets || len(payload) != wire.PacketsHeaderLen+len(big) {
				t.Fatalf("frame of kind %d, %d bytes, %v", kind, len(payload), err)
			}
		}
		if err := session.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, session)
		c.close(run)
	})
}

// What comes before go waits for the caller, in order, and pongs go on.
func TestFramesBeforeGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.collector = func(c *collectorEnd) error {
			if err := c.hello(); err != nil {
				return err
			}
			c.onReady = func() error {
				return errors.Join(c.out.WriteJSON(wire.KindGone, wire.Gone{}), c.out.WriteJSON(wire.KindGone, wire.Gone{Interface: 1}))
			}
			return c.serve()
		}
		run := c.open(t.Context())
		session := c.start(run, "n1")
		time.Sleep(5 * time.Minute)
		for range 2 {
			if kind, _, err := session.ReadFrame(nil); kind != wire.KindGone || err != nil {
				t.Errorf("frame of kind %d, %v, want gone", kind, err)
			}
		}
		if err := session.Go(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantPackets(t, session, "first", "second")
		c.close(run)
	})
}

func TestSessionClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.collector = func(c *collectorEnd) error {
			c.ahead = time.Minute
			return obey(c)
		}
		run := c.open(t.Context())
		session := c.start(run, "n1")
		synctest.Wait()
		if got := session.Clock(); got != (Clock{Offset: time.Minute}) {
			t.Errorf("clock %+v, want a minute ahead", got)
		}
		c.close(run)
	})
}

func TestCloseSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		ctx, cancel := context.WithCancel(t.Context())
		run := c.open(ctx)
		session := c.start(run, "n1")
		cancel() // of no effect any more
		synctest.Wait()
		read := make(chan error)
		go func() {
			_, _, err := session.ReadFrame(nil)
			read <- err
		}()
		synctest.Wait()
		began := time.Now()
		if err := session.Close(); err != nil {
			t.Error(err)
		}
		if err := <-read; !errors.Is(err, errClosed) {
			t.Errorf("ReadFrame of a closed session: %v", err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("closing took %s", took)
		}
		if err := session.Close(); err != nil {
			t.Error(err)
		}
		c.close(run)
	})
}

// The clock is known when Start returns, even if ready came first.
func TestReadyBeforePong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.collector = func(c *collectorEnd) error {
			c.onReady = func() error {
				c.ahead = time.Hour
				time.Sleep(time.Second)
				return nil
			}
			return obey(c)
		}
		run := c.open(t.Context())
		session := c.start(run, "n1")
		if got := session.Clock(); got.Offset < 30*time.Minute {
			t.Errorf("clock %+v, want an hour ahead", got)
		}
		if took := session.ReadyAfter(); took != time.Second {
			t.Errorf("ready after %s", took)
		}
		c.close(run)
	})
}

// A collector whose pod is deleted ends in order and does not know why.
func TestCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		ends := make(chan *collectorEnd, 1)
		c.collector = func(c *collectorEnd) error {
			ends <- c
			return obey(c)
		}
		run := c.open(t.Context())
		session := c.start(run, "n1")
		synctest.Wait()
		c.delete(session.pod)
		if err := (<-ends).out.WriteEnd(wire.End{Reason: wire.EndSignal}); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, session)
		wantError(t, session.Cause(), "collector pod netops/"+session.pod+" was deleted", "")
		c.close(run)
	})
}

// BenchmarkStream is what a stream costs without a network.
func BenchmarkStream(b *testing.B) {
	payload := make([]byte, 128<<10)
	executor := executorFunc(func(_ context.Context, stdin io.Reader, stdout io.Writer) error {
		go func() { _, _ = io.Copy(io.Discard, stdin) }()
		w := wire.NewWriter(chunks{stdout})
		for range b.N {
			if err := w.WriteFrame(wire.KindPackets, payload); err != nil {
				return err
			}
		}
		return w.WriteEnd(wire.End{})
	})
	b.SetBytes(int64(len(payload)))
	s := openStream(b.Context(), executor, types.NamespacedName{}, "run", specFrame(b, testSpec()))
	defer s.close()
	buf := make([]byte, len(payload))
	for {
		if _, _, err := s.readFrame(buf); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			b.Fatal(err)
		}
	}
}

type executorFunc func(ctx context.Context, stdin io.Reader, stdout io.Writer) error

func (f executorFunc) Exec(ctx context.Context, _ types.NamespacedName, _ []string, stdin io.Reader, stdout, _ io.Writer) error {
	return f(ctx, stdin, stdout)
}

// chunks writes as exec streams do: 32 KiB at a time.
type chunks struct{ w io.Writer }

func (c chunks) Write(b []byte) (int, error) {
	written := 0
	for len(b) > 0 {
		n, err := c.w.Write(b[:min(len(b), 32<<10)])
		written += n
		if err != nil {
			return written, err
		}
		b = b[n:]
	}
	return written, nil
}

func specFrame(t testing.TB, spec wire.Spec) frame {
	t.Helper()
	f, err := firstFrame(&spec)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
