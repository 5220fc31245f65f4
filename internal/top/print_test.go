package top

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// bubble is a world whose clock is that of a synctest bubble, which begins at
// midnight UTC of 2000-01-01.
type bubble struct {
	world
	start time.Time
}

func newBubble() *bubble { return &bubble{start: time.Now()} }

func (b *bubble) Report(by metrics.By) *metrics.Report {
	b.mu.Lock()
	b.now = began().Add(10*time.Second + time.Since(b.start))
	b.mu.Unlock()
	return b.world.Report(by)
}

func TestPrint(t *testing.T) {
	for _, view := range Views() {
		for _, once := range []bool{false, true} {
			name := "print-" + view
			if once {
				name += "-once"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBubble()
					b.change = func(r *metrics.Report) {
						if seconds := b.now.Sub(began()).Seconds(); seconds >= 12 {
							r.Lost = []metrics.Lost{{Node: "node-1", Plugin: "dns", What: "names: table full", Count: uint64(seconds) / 12}}
						}
						if b.now.Sub(began()).Seconds() >= 13 {
							r.Drops, r.Nodes[1].Unsupported = nil, []wire.PluginError{{Plugin: "dropreason", Cause: "no BTF", Hint: "use a kernel with BTF"}}
						}
					}
					ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
					defer cancel()
					var out strings.Builder
					if err := Print(ctx, &out, Options{Source: b, View: View(view), Now: b.clock}, once); err != nil {
						t.Fatal(err)
					}
					if once && time.Since(b.start) != time.Second {
						t.Errorf("one table took %s", time.Since(b.start))
					}
					golden(t, name+".golden", out.String())
				})
			})
		}
	}
}

func TestPrintFilteredAndSorted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble()
		var out strings.Builder
		o := Options{Source: b, Now: b.clock, SortBy: "out/S", Filter: "NODE-2", Interval: 5 * time.Second}
		if err := Print(t.Context(), &out, o, true); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(out.String(), "\n")
		if len(lines) != 4 || !strings.Contains(lines[1], "gateway") || !strings.Contains(lines[2], "db-0") {
			t.Errorf("printed:\n%s", &out)
		}
		out.Reset()
		o.Filter = "nowhere"
		if err := Print(t.Context(), &out, o, true); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != "# none of 4 pods contains \"nowhere\"\n" {
			t.Errorf("printed %q", got)
		}
	})
}

// One table waits for numbers, for samples come a little after the interval. Without
// any it gives up.
func TestPrintOnceWaits(t *testing.T) {
	for _, comes := range []time.Duration{1100 * time.Millisecond, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble()
			source := sourceFunc(func(by metrics.By) *metrics.Report {
				r := b.Report(by)
				if time.Since(b.start) < comes {
					r.Ended = r.Began
				}
				return r
			})
			var out strings.Builder
			if err := Print(t.Context(), &out, Options{Source: source, Now: b.clock}, true); err != nil {
				t.Fatal(err)
			}
			numbers, want := strings.Contains(out.String(), "  104k  "), 2*time.Second
			if comes == time.Hour {
				want = onceLooks * time.Second
			}
			if took := time.Since(b.start); took != want || numbers != (comes < time.Hour) {
				t.Errorf("after %s, want %s:\n%s", took, want, &out)
			}
		})
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestPrintEndsWithItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble()
		err := Print(t.Context(), brokenPipe{}, Options{Source: b, Now: b.clock}, false)
		if err == nil || err.Error() != "print pods: broken pipe" {
			t.Errorf("%v", err)
		}
	})
}

func TestValidate(t *testing.T) {
	source := newWorld()
	for _, test := range []struct {
		o         Options
		err, hint string
	}{
		{Options{Source: source}, "", ""},
		{Options{Source: source, View: Flows, SortBy: "Retr"}, "", ""},
		{Options{Source: source, SortBy: "conn-fail"}, "", ""},
		{Options{Source: source, SortBy: "rtt_p99"}, "", ""},
		{Options{}, "live view without a source", ""},
		{Options{Source: source, Interval: -1}, "interval -1ns is negative", ""},
		{Options{Source: source, View: "podz"}, `unknown view "podz"`, "did you mean pods?"},
		{Options{Source: source, View: "everything"}, `unknown view "everything"`, "use one of pods, nodes, flows, drops, dns"},
		{Options{Source: source, View: DNS, SortBy: "port"}, `dns have no column "port"`, "sort by one of NAME, TYPE, TARGET, SERVER, Q/s, ERR, TIMEOUT, P99, QUERIES, CODES"},
		{Options{Source: source, SortBy: "%"}, `pods have no column "%"`, "sort by one of NAMESPACE, POD, NODE, IN/s, OUT/s, PKTS/s, DROP/s, RETR/s, RTT-P99, CONN-FAIL, DNS-ERR, LAST-MINUTE"},
	} {
		err := test.o.Validate()
		if test.err == "" {
			if err != nil {
				t.Errorf("%+v: %v", test.o, err)
			}
			continue
		}
		if err == nil || err.Error() != test.err || hint.Of(err) != test.hint {
			t.Errorf("%q with hint %q, want %q with %q", err, hint.Of(err), test.err, test.hint)
		}
	}
}
