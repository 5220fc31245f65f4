package capture

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// filter runs capture filter.
func filter(args ...string) (stdout, stderr string, err error) {
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	cmd := NewFilter(streams)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err = cmd.Execute()
	return out.String(), errOut.String(), err
}

func TestFilterIsExplained(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"tcp", "port", "80", "or", "443"}, "tcp port 80 or tcp port 443\n"},
		{[]string{"-d", "arp"}, "(000) ldh      [12]\n(001) jeq      #0x806           jt 2\tjf 3\n(002) ret      #262144\n(003) ret      #0\n"},
		{[]string{"-dd", "arp"}, "{ 0x28, 0, 0, 0x0000000c },\n{ 0x15, 0, 1, 0x00000806 },\n{ 0x6, 0, 0, 0x00040000 },\n{ 0x6, 0, 0, 0x00000000 },\n"},
		{[]string{"-ddd", "--link-type", "raw", "--snapshot-length", "64", "ip6"}, "5\n48 0 0 0\n84 0 0 240\n21 0 1 96\n6 0 0 64\n6 0 0 0\n"},
	} {
		got, stderr, err := filter(test.args...)
		if err != nil || stderr != "" {
			t.Errorf("%q: %v, stderr %q", test.args, err, stderr)
		}
		if got != test.want {
			t.Errorf("%q prints\n%swant\n%s", test.args, got, test.want)
		}
	}
	if _, stderr, err := filter("not pod monitoring/prometheus-0"); err != nil || !strings.Contains(stderr, "pod monitoring/prometheus-0") {
		t.Errorf("%v, stderr %q", err, stderr)
	}
}

// What is wrong with no flag but with several together names the flags, and shows all
// that they say.
func TestFlagsThatContradictEachOther(t *testing.T) {
	for _, test := range []struct{ args, text string }{
		{"pod/x --source-ips 10.0.0.1 --destination-ips fd00::/64", "what the flags say together: no packet can pass this filter on Ethernet: src host 10.0.0.1 and dst net fd00::/64"},
		{"pod/x --filter mpls --filter arp", `what the flags say together: "arp" cannot be matched after mpls: mpls and arp`},
	} {
		_, err := options(t, strings.Fields(test.args)...).complete()
		if err == nil || err.Error() != test.text || exit.Code(err) != exit.Usage || !strings.Contains(hint.Of(err), "--destination-ips") {
			t.Errorf("%s: %v (code %d), hint %q, want %s", test.args, err, exit.Code(err), hint.Of(err), test.text)
		}
	}
}

func TestWrongFilters(t *testing.T) {
	for _, test := range []struct {
		args                []string
		shown, text, advice string
	}{
		{[]string{"tcp prot 80"}, "tcp prot 80\n    ^^^^\n", `unexpected "prot"`, `did you mean "port"?`},
		{[]string{"-d", "--link-type", "raw", "ether host 1:2:3:4:5:6"}, "ether host 1:2:3:4:5:6\n", "without an Ethernet header", ""},
		{[]string{"-d", "pod web-1"}, "pod web-1\n", "pod", ""},
		{[]string{"--link-type", "wifi", "arp"}, "", `--link-type "wifi"`, "raw"},
		{[]string{"-dddd", "arp"}, "", "up to three times", ""},
		{nil, "", "no filter is given", "tcp port 80"},
	} {
		stdout, stderr, err := filter(test.args...)
		if err == nil || exit.Code(err) != exit.Usage || errors.Is(err, exit.ErrSilent) || stdout != "" {
			t.Errorf("%q: %v, code %d, stdout %q", test.args, err, exit.Code(err), stdout)
			continue
		}
		if !strings.HasPrefix(stderr, test.shown) || !strings.Contains(err.Error(), test.text) || !strings.Contains(hint.Of(err), test.advice) {
			t.Errorf("%q: shown %q, error %v, hint %q", test.args, stderr, err, hint.Of(err))
		}
	}
}

// TestLongFilters: what the kernel has no room for is refused before anything is
// created.
func TestLongFilters(t *testing.T) {
	var parts []string
	for i := range 150 {
		parts = append(parts, fmt.Sprintf("net 10.%d.0.0/16 or host fd00::%x", i, i))
	}
	complete := func(n int) error {
		_, err := options(t, "pod/web-1", "--filter", strings.Join(parts[:n], " or ")).complete()
		return err
	}
	if err := complete(100); err != nil {
		t.Error(err)
	}
	if err := complete(150); exit.Code(err) != exit.Usage || !strings.Contains(err.Error(), "there is room for") || hint.Of(err) == "" {
		t.Errorf("%v (hint %q)", err, hint.Of(err))
	}
}
