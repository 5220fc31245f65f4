package expect

import (
	"errors"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		text    string
		metric  string
		rate    bool
		labels  int
		compare string
		bound   float64
	}{
		{"drops == 0", "drops", false, 0, "==", 0},
		{"  drops{}==0  ", "drops", false, 0, "==", 0},
		{"dns.p99 < 50ms", "dns_p99", false, 0, "<", 50_000},
		{"DNS_P99<0", "dns_p99", false, 0, "<", 0},
		{"connect.mean <= 1.5s", "connect_mean", false, 0, "<=", 1.5e6},
		{"rtt-max != 10 µs", "rtt_max", false, 0, "!=", 10},
		{`retransmit_ratio{namespace="shop"} < 1%`, "retransmit_ratio", false, 1, "<", 0.01},
		{`retransmit_ratio < .01`, "retransmit_ratio", false, 0, "<", 0.01},
		{"packets/s > 1k", "packets", true, 0, ">", 1000},
		{"bytes/s{pod='web'} >= 2Mi", "bytes", true, 1, ">=", 2 << 20},
		{"bytes > 1MB", "bytes", false, 0, ">", 1e6},
		{"bytes > 1e3KiB", "bytes", false, 0, ">", 1024e3},
		{`drops { reason =~ "NETFILTER.*" , hook != "INPUT", remote = "a\"b\\", } == 0`, "drops", false, 3, "==", 0},
		{`dns.responses{code="NXDOMAIN", name=="a.b"} == 0`, "dns_responses", false, 2, "==", 0},
		{"apiserver.errors == 0", "apiserver_errors", false, 0, "==", 0},
		{"apiserver.p99 < 1s", "apiserver_p99", false, 0, "<", 1e6},
		{"lost == 0", "lost", false, 0, "==", 0},
		{`drops{hook=~"", direction=~".*gress"} == 0`, "drops", false, 2, "==", 0},
		{`drops{hook!~".+", protocol=~"tcp|TCP", port="", on!~"node"} == 0`, "drops", false, 4, "==", 0},
		{`apiserver.errors{reason!="tls"} == 0`, "apiserver_errors", false, 1, "==", 0},
	} {
		e, err := Parse(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if e.metric.name != test.metric || e.rate != test.rate || len(e.labels) != test.labels || e.compare != test.compare || e.bound != test.bound {
			t.Errorf("%s: parsed as %+v", test.text, e)
		}
		if e.String() != strings.TrimSpace(test.text) {
			t.Errorf("%s: text is %s", test.text, e)
		}
	}
	e, err := Parse(`drops{remote="a\"b\\"} == 0`)
	if err != nil || e.labels[0].value != `a"b\` {
		t.Errorf("value is %q: %v", e.labels[0].value, err)
	}
}

func TestParseErrors(t *testing.T) {
	for _, test := range []struct{ text, at, cause, hint string }{
		{"", "^", "no metric", "write one such as 'drops == 0'"},
		{"== 0", "^", "no metric", "write one such as 'drops == 0'"},
		{"drop == 0", "^", `there is no metric "drop"`, `did you mean "drops"?`},
		{"dsn.p99 < 5ms", "^", `there is no metric "dsn.p99"`, `did you mean "dns_p99"?`},
		{"dns.p99/s < 5ms", "       ^", "only counters have a rate, and dns.p99 is none", "leave out /s"},
		{"drops = 0", "      ^", "expected ==, !=, <, <=, > or >=", "write =="},
		{"drops", "     ^", "expected ==, !=, <, <=, > or >=", ""},
		{"drops ==", "        ^", "expected a number", ""},
		{"drops == -1", "         ^", "no metric is ever negative", ""},
		{"drops == 1e999", "         ^", "number is too large", ""},
		{"drops == 0 0", "           ^", "more follows", "give each expectation with a flag of its own"},
		{"drops == 0 && lost == 0", "           ^", "more follows", "give each expectation with a flag of its own"},
		{"drops == 5ms", "          ^", `drops has no unit "ms"`, "there are G, Gi, K"},
		{"dns.p99 < 50", "            ^", "a time needs a unit", "write us, ms or s behind it"},
		{"dns.p99 < 50h", "            ^", `dns_p99 has no unit "h"`, "there are ms, s, us"},
		{`drops{foo="x"} == 0`, "      ^", `drops has no label "foo"`, "there are namespace"},
		{`drops{raeson="x"} == 0`, "      ^", `drops has no label "raeson"`, `did you mean "reason"?`},
		{`packets{reason="x"} == 0`, "        ^", `packets has no label "reason"`, ""},
		{`rtt.p99{remote="x"} < 1s`, "        ^", "quantiles are known for targets only, and remote is a label of flows", "use the mean"},
		{`drops{reason"x"} == 0`, "            ^", `expected "=", "!=", "=~" or "!~"`, ""},
		{`drops{reason=x} == 0`, "             ^", "expected a value in quotes", ""},
		{`drops{reason="x} == 0`, "             ^", "the quote is not closed", ""},
		{`drops{reason="x" hook="INPUT"} == 0`, "                 ^", `expected "," or "}"`, ""},
		{`drops{reason=~"("} == 0`, "              ^", "bad regular expression: missing closing ): `^(?:()$`", ""},
		{`drops{direction="in"} == 0`, "                ^", `no direction is ever "in"`, "there are ingress, egress, forward"},
		{`drops{direction=~"in|out"} == 0`, "                 ^", `no direction is ever "in|out"`, "there are ingress, egress, forward"},
		{`drops{on!~"n[0-9]"} == 0`, "          ^", `no on is ever "n[0-9]"`, "there are pod, node"},
		{`packets{protocol="tcp"} == 0`, "                 ^", `no protocol is ever "tcp"`, `write "TCP"`},
		{`drops{protocol="ICMPv6"} == 0`, "               ^", `no protocol is ever "ICMPv6"`, `write "ICMP", of IPv6 too`},
		{`packets{port="http"} == 0`, "             ^", `no port is ever "http"`, "write its number"},
		{`apiserver.errors{reason="refusd"} == 0`, "                        ^", `no reason is ever "refusd"`, "there are refused, timeout, unreachable, reset, tls"},
		{`drops{hook="input"} == 0`, "           ^", `no hook is ever "input"`, "there are PREROUTING"},
		{`dns.errors{code="nxdomain"} == 0`, "                ^", `no code is ever "nxdomain"`, `write "NXDOMAIN"`},
		{"dröps == 0", "^", `there is no metric "dr"`, ""},
		{"drops ≠ 0", "      ^", "expected ==, !=, <, <=, > or >=", ""},
	} {
		_, err := Parse(test.text)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%s: error is %v", test.text, err)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != 3 || lines[0] != "expectation: "+test.cause || lines[1] != "  "+test.text || lines[2] != "  "+test.at {
			t.Errorf("%s: error is\n%s\nwant %s\n  %s", test.text, err, test.cause, test.at)
		}
		if got := hint.Of(err); !strings.HasPrefix(got, test.hint) {
			t.Errorf("%s: hint is %q, want %q", test.text, got, test.hint)
		}
	}
	if _, err := Parse(strings.Repeat("x", 5000)); err == nil || len(err.Error()) > 200 {
		t.Errorf("error is %v", err)
	}
	if _, err := Parse("drops\x1b[2J\n{} = 0"); err == nil || strings.ContainsRune(err.Error(), '\x1b') || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("error is %q", err)
	}
}

// Every metric of the grammar's text exists, and every metric is in the text.
func TestGrammarNamesAllMetrics(t *testing.T) {
	text := strings.Join(strings.Fields(Grammar), " ")
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == ';' })
	inText := make(map[string]bool)
	for _, w := range words {
		inText[canonical(w)] = true
	}
	for _, name := range metricNames() {
		prefix, suffix, _ := strings.Cut(name, "_")
		if !inText[name] && !(inText[prefix+"_x"] && inText[suffix]) {
			t.Errorf("%s is not in the text of the grammar", name)
		}
		e, err := Parse(name + " == 0")
		if err != nil || e.metric.name != name {
			t.Errorf("%s: %v", name, err)
		}
		for _, label := range e.metric.labels() {
			if !inText[label] {
				t.Errorf("label %s of %s is not in the text of the grammar", label, name)
			}
		}
	}
	for _, w := range strings.Fields("packets packets_in connect_failures dns.error_ratio apiserver.attempts retransmit_ratio lost") {
		if _, ok := findMetric(w); !ok {
			t.Errorf("there is no metric %s", w)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"drops == 0", `retransmit_ratio{namespace="shop",pod!~"a.*"} < 1%`, "packets/s > 1k", "dns.p99 < 50ms", `drops{reason="\"\\"} == 0`, "bytes{} >= 1e3KiB", "x", "drops{", "\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.At < 0 || syntax.At > len(syntax.Text) {
				t.Fatalf("%q: error is %#v", text, err)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != 3 || !strings.HasSuffix(lines[2], "^") {
				t.Fatalf("%q: error is %q", text, err)
			}
			return
		}
		if e.bound < 0 || e.bound != e.bound {
			t.Fatalf("%q: bound is %v", text, e.bound)
		}
		again, err := Parse(e.String())
		if err != nil || again.metric.name != e.metric.name || again.bound != e.bound || again.compare != e.compare || len(again.labels) != len(e.labels) {
			t.Fatalf("%q is read again as %+v: %v", text, again, err)
		}
		Evaluate(e, shopReport(nil))
	})
}
