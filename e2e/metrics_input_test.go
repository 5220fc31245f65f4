//go:build linux && !unit

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// wrongLines are command lines below `metrics` whose mistake is found before anything
// is created, and the first line of what they print. An argument of several words is in
// quotes.
const wrongLines = `
snapsot | error: unknown command "snapsot" for "kubectl retina metrics"
snapshot --durration 5s | error: unknown flag: --durration
snapshot --plugins dsn | error: --plugins: there is no plugin "dsn" that measures
snapshot --plugins packets | error: --plugins: there is no plugin "packets" that measures
snapshot --duration soon | error: --duration "soon" is not a time
snapshot --duration 1ms | error: --duration 1ms is not between 200ms and 24h
snapshot --duration 25h | error: --duration 25h0m0s is not between 200ms and 24h
snapshot --duration -5s | error: --duration -5s is not between 200ms and 24h
snapshot --by pots | error: --by "pots" is not one of pod, node, workload, namespace, service, flow
snapshot --sort-by bites | error: --sort-by: no column "bites" to sort by; there are kind,…
snapshot --top -1 | error: --top -1 is negative
snapshot --top many | error: --top "many" is not a whole number
snapshot -o jsn | error: -o "jsn" is not one of table, wide, json, yaml, csv, prometheus, junit
snapshot -o junit | error: -o junit prints verdicts, and there is no --expect
snapshot --compare absent.json | error: --compare: open absent.json: no such file or directory
snapshot --compare other.json | error: --compare other.json: not a report: kind is "", want "Report"
snapshot --compare other.json -o csv | error: --compare prints as table, json or yaml, not as csv
snapshot --max-nodes -1 | error: --max-nodes -1 is negative
snapshot --max-nodes x | error: --max-nodes "x" is not a whole number
snapshot --table-entries 3 | error: --table-entries 3 is not between 64 and 262144
snapshot --table-entries 99999999 | error: --table-entries 99999999 is not between 64 and 262144
snapshot --table-entries x | error: --table-entries "x" is not a whole number
snapshot --hook xdp | error: --hook "xdp" is not one of tcx, socket
snapshot --no-follow=x | error: invalid argument "x" for "--no-follow" flag: …
snapshot --quiet=x | error: invalid argument "x" for "-q, --quiet" flag: …
snapshot pod/a -l b=c | error: TYPE/NAME arguments and -l cannot be combined
snapshot -l 'app=((' | error: -l "app=((" is not a label selector: …
snapshot --pod-selectors 'app=((' | error: --pod-selectors "app=((" is not a label selector: …
snapshot --namespace-selectors 'app=((' | error: --namespace-selectors "app=((" is not a label selector: …
snapshot --node-selectors 'app=((' | error: --node-selectors "app=((" is not a label selector: …
snapshot dpeloy/web | error: "dpeloy" is not a type of target
snapshot --image A:b:c | error: --image "A:b:c" is not the name of an image
top pdos | error: unknown view "pdos"
top --sort-by x | error: --sort-by: pods have no column "x"
top drops --sort-by IN/s | error: --sort-by: drops have no column "IN/s"
top --interval 1ms | error: --interval 1ms is not between 200ms and 1m0s
top --interval 2h | error: --interval 2h0m0s is not between 200ms and 1m0s
top --interval x | error: --interval "x" is not a time
top --once=maybe | error: invalid argument "maybe" for "--once" flag: …
top --output json | error: unknown flag: --output
top --plugins x | error: --plugins: there is no plugin "x" that measures
events --kinds drops | error: --kinds: there is no kind of event "drops"
events --plugins linuxutil | error: --plugins: none of these has events
events --plugins nope | error: --plugins: there is no plugin "nope" that measures
events --rate 0 | error: --rate 0 is not between 1 and 10000
events --rate 10001 | error: --rate 10001 is not between 1 and 10000
events --rate x | error: --rate "x" is not a whole number
events -o yaml | error: -o "yaml" is not json
events --duration -1s | error: --duration -1s is not between 0 and …
events --duration x | error: --duration "x" is not a time
serve --listen 10093 | error: --listen "10093" is not an address and a port
serve --listen 127.0.0.1:http-nonsense | error: --listen "127.0.0.1:http-nonsense" is not an address and a port
serve --listen 127.0.0.1:99999 | error: --listen "127.0.0.1:99999" is not an address and a port
serve --listen http://127.0.0.1:1/ | error: --listen "http://127.0.0.1:1/" is not an address and a port
serve --max-series -1 | error: --max-series -1 is negative
serve --max-series x | error: --max-series "x" is not a whole number
serve --interval 1ms | error: --interval 1ms is not between 200ms and 1m0s
serve --interval 1d | error: --interval "1d" is not a time
serve --remote-context=x | error: invalid argument "x" for "--remote-context" flag: …
serve --retina-names=x | error: invalid argument "x" for "--retina-names" flag: …
serve --plugins x | error: --plugins: there is no plugin "x" that measures
`

// TestMetricsWrongInput is refused with exit code 2, in words, before anything is
// created.
func TestMetricsWrongInput(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "other.json"), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantNothingCreated(t, func() {
		for line := range strings.Lines(strings.TrimSpace(wrongLines)) {
			command, want, _ := strings.Cut(strings.TrimSpace(line), " | ")
			args := append([]string{"metrics"}, strings.Fields(command)...)
			for i := range args {
				args[i] = strings.Trim(args[i], "'")
			}
			r := startIn(t, dir, nil, args...).wait(t)
			if r.code != 2 {
				t.Errorf("%s: exit code %d, want 2: %s", command, r.code, r)
				continue
			}
			r.wantError(t, 2)
			first, _, _ := strings.Cut(r.stderr, "\n")
			beginning, whole := strings.CutSuffix(want, "…")
			if !strings.HasPrefix(first, beginning) || !whole && first != want {
				t.Errorf("%s: %q, want %q", command, first, want)
			}
		}
	})
}

// TestMetricsWrongTargets is found in the cluster, and nothing is created either.
func TestMetricsWrongTargets(t *testing.T) {
	s := openShop(t, "")
	for _, test := range []struct {
		args  []string
		texts []string
	}{
		{[]string{"snapshot", "pod/web-n3", "-n", s.namespace}, []string{`error: pod "web-n3" not found in namespace "` + s.namespace + `"`, "hint: did you mean", "web-n1"}},
		{[]string{"events", "svc/wbe", "-n", s.namespace}, []string{`"wbe" not found`}},
		{[]string{"top", "node/n9", "--once"}, []string{`node "n9" not found`}},
		{[]string{"snapshot", "-n", "e2e-absent"}, []string{"e2e-absent"}},
		{[]string{"snapshot", "-l", "app=none", "-n", s.namespace}, []string{"no pod matches -l app=none in namespace " + s.namespace}},
		{[]string{"serve", "-n", s.namespace, "--listen", "127.0.0.1:0", "--collector-namespace", "e2e-absent"}, []string{"collector namespace e2e-absent does not exist"}},
		{[]string{"serve", "--listen", "203.0.113.1:1"}, []string{"error: listen on 203.0.113.1:1: ", "hint: choose another port with --listen"}},
		{[]string{"snapshot", "--context", "absent"}, []string{`no context "absent"`}},
		{[]string{"snapshot", "--server", "https://127.0.0.1:1"}, []string{"connection refused"}},
	} {
		wantNothingCreated(t, func() { retina(t, append([]string{"metrics"}, test.args...)...).wantError(t, 1, test.texts...) })
	}
}

// TestWrongExpectations are shown with a mark below the place.
func TestWrongExpectations(t *testing.T) {
	for _, test := range []struct {
		text, mark string // mark is what stands below text
		want       string
		hint       string
	}{
		{`drop == 0`, `^`, `there is no metric "drop"`, `did you mean "drops"?`},
		{`drops = 0`, `      ^`, `expected ==, !=, <, <=, > or >=`, `write ==`},
		{`drops == -1`, `         ^`, `no metric is ever negative`, ""},
		{`drops == 1ms`, `          ^`, `drops has no unit "ms"`, "there are G, Gi, Ki, M, Mi, k"},
		{`dns.p99 < 50`, `            ^`, `a time needs a unit`, `write us, ms or s behind it`},
		{`drops{reson="x"} == 0`, `      ^`, `drops has no label "reson"`, `did you mean "reason"?`},
		{`drops{reason=x} == 0`, `             ^`, `expected a value in quotes`, ""},
		{`retransmit_ratio/s < 1%`, `                ^`, `only counters have a rate, and retransmit_ratio is none`, `leave out /s`},
		{`bytes >`, `       ^`, `expected a number`, ""},
		{`drops == 0 drops == 0`, `           ^`, `drops has no unit "drops"`, "there are G, Gi, Ki, M, Mi, k"},
	} {
		r := retina(t, "metrics", "snapshot", "--expect", "packets > 0", "--expect", test.text)
		want := "  " + test.text + "\n  " + test.mark + "\nerror: --expect: " + test.want + "\n"
		if test.hint != "" {
			want += "hint: " + test.hint + "\n"
		}
		if r.code != 2 || r.stdout != "" || r.stderr != want {
			t.Errorf("%s: want code 2 and\n%s\ngot %s", test.text, want, r)
		}
	}
	// Without a place there is nothing to mark.
	retina(t, "metrics", "snapshot", "--expect", "").wantError(t, 2, "error: --expect: no metric\n", "hint: write one such as 'drops == 0'")
}
