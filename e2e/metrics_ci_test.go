//go:build linux && !unit

package e2e

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ciScript is a job as somebody's CI has it: the verdicts go into files for its page of
// test results, the exit code decides, and numbers are compared with an earlier run's.
const ciScript = `#!/bin/sh
set -u
failed=0

# step NAME WANTED-CODE ARGUMENTS...: one measurement
step() {
	name=$1 wanted=$2
	shift 2
	kubectl retina metrics snapshot -n "$NAMESPACE" --collector-namespace "$COLLECTORS" --duration 1s -q "$@" >"$name.out" 2>"$name.err"
	code=$?
	if [ "$code" != "$wanted" ]; then
		echo "$name: exit code $code, want $wanted"
		cat "$name.out" "$name.err"
		failed=1
	fi
}

step holds 0 -o junit --expect 'drops{reason="NETFILTER_DROP"} == 0' --expect 'packets{pod="web-n2"} > 0' --expect "packets/s{namespace='$NAMESPACE'} >= 1"
step fails 4 -o junit --expect 'packets == 0' --expect 'bytes > 1k' --expect 'dns.p99 < 50ms'
step unknown 3 -o junit --expect 'dns.p99 < 50ms' --expect 'packets > 0'
step nobody 3 -o junit --expect 'drops{pod="no-such-pod"} == 0'
step table 4 --expect 'packets == 0'
step before 0 -o json
# As if there had been less traffic: that of two seconds may be the same to the packet.
sed -i 's/"packetsIn": *[0-9][0-9]*/"packetsIn": 7/' before.out
step compared 0 --compare before.out
step judged 4 --compare before.out --expect 'packets == 0'
step wrong 2 --expect 'packets = 0'

if kubectl retina metrics snapshot -n "$NAMESPACE" --collector-namespace "$COLLECTORS" --duration 1s -q --expect 'packets > 0' >/dev/null; then
	echo 'the build goes on'
fi
exit $failed
`

// A junit is what a CI system reads.
type junit struct {
	XMLName  xml.Name `xml:"testsuite"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Errors   int      `xml:"errors,attr"`
	Cases    []struct {
		Name    string `xml:"name,attr"`
		Failure *struct {
			Message string `xml:"message,attr"`
		} `xml:"failure"`
		Error *struct {
			Message string `xml:"message,attr"`
		} `xml:"error"`
	} `xml:"testcase"`
}

// TestMetricsInCI runs the script while there is traffic.
func TestMetricsInCI(t *testing.T) {
	s := openShop(t, "")
	s.background(t, s.client["n1"], "http-get", "--url", "http://"+s.web["n2"].Status.PodIP+":8080/", "--every", "50ms")
	dir := t.TempDir()
	script := filepath.Join(dir, "ci.sh")
	if err := os.WriteFile(script, []byte(ciScript), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := the.Command(t.Context(), script)
	cmd.Dir = dir
	for i, variable := range cmd.Env {
		if path, ok := strings.CutPrefix(variable, "PATH="); ok {
			cmd.Env[i] = "PATH=" + filepath.Dir(the.program) + ":" + path
		}
	}
	cmd.Env = append(cmd.Env, "NAMESPACE="+s.namespace, "COLLECTORS="+collectorNamespace)
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "the build goes on\n" {
		t.Fatalf("%v\n%s", err, out)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, want := range []struct {
		name, stderr            string
		tests, failures, errors int
	}{
		{"holds", "", 3, 0, 0},
		{"fails", "error: 1 of 3 expectations do not hold\n", 3, 1, 1},
		{"unknown", "error: 1 of 2 expectations could not be measured\n", 2, 0, 1},
		{"nobody", "error: 1 of 1 expectations could not be measured\n", 1, 0, 1},
	} {
		var suite junit
		if err := xml.Unmarshal([]byte(read(want.name+".out")), &suite); err != nil {
			t.Errorf("%s: %v\n%s", want.name, err, read(want.name+".out"))
		}
		if suite.Tests != want.tests || len(suite.Cases) != want.tests || suite.Failures != want.failures || suite.Errors != want.errors {
			t.Errorf("%s: %+v", want.name, suite)
		}
		for _, one := range suite.Cases {
			if (one.Failure != nil) != (one.Name == "packets == 0") || (one.Error != nil) != (one.Name == "dns.p99 < 50ms" || want.name == "nobody") {
				t.Errorf("%s: case %+v", want.name, one)
			}
		}
		if got := read(want.name + ".err"); got != want.stderr {
			t.Errorf("%s: stderr %q, want %q", want.name, got, want.stderr)
		}
	}
	for name, texts := range map[string][]string{
		"table.out":    {"NAMESPACE", "web-n2", "packets == 0", "FAILED", s.namespace + "/client-n1"},
		"compared.out": {"web-n2", "packets"},
		"judged.out":   {"packets == 0", "FAILED"},
		"wrong.err":    {"  packets = 0\n          ^\n", "error: --expect: expected ==, !=, <, <=, > or >=\n", "hint: write ==\n"},
	} {
		for _, text := range texts {
			if got := read(name); !strings.Contains(got, text) {
				t.Errorf("%q is not in %s:\n%s", text, name, got)
			}
		}
	}
	wantNothingLeft(t)
}
