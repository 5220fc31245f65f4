package plugins

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// execute runs the command and returns what it prints.
func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
	cmd := New(streams)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.Execute()
	if stderr.Len() > 0 {
		t.Errorf("%q: on standard error: %s", args, stderr)
	}
	return stdout.String(), err
}

func catalogue(t *testing.T) *retina.Catalogue {
	t.Helper()
	c, err := retina.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTableHasALineForEachPlugin(t *testing.T) {
	plugins := catalogue(t).Plugins
	for _, test := range []struct {
		args   []string
		titles string // "": none
	}{
		{nil, "NAME KERNEL HOOKS METRICS SUMMARY"},
		{[]string{"-o", "table"}, "NAME KERNEL HOOKS METRICS SUMMARY"},
		{[]string{"-o", "wide"}, "NAME KERNEL HOOKS METRICS COMMAND LABELS NEEDS SUMMARY"},
		{[]string{"--no-headers"}, ""},
	} {
		out, err := execute(t, test.args...)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if test.titles != "" {
			if titles := strings.Join(strings.Fields(lines[0]), " "); titles != test.titles {
				t.Errorf("%q: titles %q, want %q", test.args, titles, test.titles)
			}
			lines = lines[1:]
		}
		if len(lines) != len(plugins) {
			t.Fatalf("%q: %d lines, want %d:\n%s", test.args, len(lines), len(plugins), out)
		}
		for i, line := range lines {
			if !strings.HasPrefix(line, plugins[i].Name+" ") || !strings.HasSuffix(line, plugins[i].Summary) {
				t.Errorf("%q: line %q, want %s and its summary", test.args, line, plugins[i].Name)
			}
		}
	}
}

func TestWideCells(t *testing.T) {
	out, err := execute(t, "packets", "-o", "wide", "--no-headers")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"packets", "5.8", "tcx", "0", "capture", "-"}
	if cells := strings.Fields(out); !slices.Equal(cells[:len(want)], want) || strings.Count(out, "\n") != 1 {
		t.Errorf("%q, want a line that begins with %q", out, want)
	}
	out, err = execute(t, "dropreason", "-o", "wide", "--no-headers")
	if err != nil || !strings.Contains(out, " tp_btf:kfree_skb,") || !strings.Contains(out, " reason,direction,hook ") {
		t.Errorf("%q, %v: no hook or no labels", out, err)
	}
}

func TestNames(t *testing.T) {
	all, err := execute(t, "-o", "name")
	if err != nil || !strings.HasPrefix(all, "plugin/packetforward\nplugin/dropreason\n") {
		t.Errorf("%q, %v", all, err)
	}
	if one, err := execute(t, "dns", "-o", "name"); err != nil || one != "plugin/dns\n" {
		t.Errorf("%q, %v", one, err)
	}
}

func TestDocuments(t *testing.T) {
	c := catalogue(t)
	for output, unmarshal := range map[string]func(string, any) error{
		"json": func(text string, to any) error { return json.Unmarshal([]byte(text), to) },
		"yaml": func(text string, to any) error { return yaml.UnmarshalStrict([]byte(text), to) },
	} {
		text, err := execute(t, "-o", output)
		var all list
		if err != nil || unmarshal(text, &all) != nil {
			t.Fatalf("-o %s: %v\n%s", output, err, text)
		}
		if all.APIVersion == "" || all.Kind != listKind || len(all.Items) != len(c.Plugins) || len(all.Endpoint) != len(c.Endpoint) || len(all.Labels) != len(c.Labels) {
			t.Errorf("-o %s: not the catalogue:\n%s", output, text)
		}
		text, err = execute(t, "dns", "-o", output)
		var one single
		if err != nil || unmarshal(text, &one) != nil {
			t.Fatalf("-o %s: %v\n%s", output, err, text)
		}
		if one.Kind != pluginKind || one.Name != "dns" || len(one.Metrics) != len(c.Plugin("dns").Metrics) {
			t.Errorf("-o %s: not dns:\n%s", output, text)
		}
	}
}

// TestDescription wants everything that the catalogue says of each plugin, in
// lines that fit a terminal.
func TestDescription(t *testing.T) {
	c := catalogue(t)
	for i := range c.Plugins {
		p := &c.Plugins[i]
		out, err := execute(t, p.Name)
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Join(strings.Fields(out), " ")
		want := append([]string{p.Summary, p.Description, "Linux " + p.Kernel}, append(p.Needs, p.Blind...)...)
		for _, h := range p.Hooks {
			want = append(want, h.Kind, h.At, h.Fallback)
		}
		for j := range p.Metrics {
			m := &p.Metrics[j]
			want = append(want, m.Name, m.Help, m.Retina, m.Type+" of "+m.Unit)
			want = append(append(want, m.Labels...), m.Expect...)
		}
		for _, text := range want {
			if !strings.Contains(words, text) {
				t.Errorf("%s: %q is missing", p.Name, text)
			}
		}
		for line := range strings.Lines(out) {
			if len(line) > lineWidth+1 && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("%s: line of %d: %s", p.Name, len(line), line)
			}
		}
	}
}

func TestParagraph(t *testing.T) {
	const long = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for _, test := range []struct{ text, want string }{
		{"", "  \n"},
		{"one  two", "  one two\n"},
		{long, "  " + long + "\n"},
		{"one " + long + " two", "  one\n    " + long + "\n    two\n"},
		{strings.Repeat("x", 70) + " 12345678", "  " + strings.Repeat("x", 70) + "\n    12345678\n"},
		{strings.Repeat("x", 70) + " 1234567", "  " + strings.Repeat("x", 70) + " 1234567\n"},
	} {
		var b strings.Builder
		paragraph(&b, "  ", test.text)
		if b.String() != test.want {
			t.Errorf("%q: %q, want %q", test.text, b.String(), test.want)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, test := range []struct {
		args []string
		err  string
		hint string
	}{
		{[]string{"drops"}, `no plugin is called "drops"`, "see: kubectl retina plugins"},
		{[]string{"dropreasons"}, `no plugin is called "dropreasons"`, "did you mean dropreason?"},
		{[]string{"drop"}, `no plugin is called "drop"`, "did you mean dropreason?"},
		{[]string{"DNS"}, `no plugin is called "DNS"`, "did you mean dns?"},
		{[]string{"tcpretrnas"}, `no plugin is called "tcpretrnas"`, "did you mean tcpretrans?"},
		{[]string{""}, `no plugin is called ""`, "see: kubectl retina plugins"},
		{[]string{"quite-another-word"}, `no plugin is called "quite-another-word"`, "see: kubectl retina plugins"},
		{[]string{"dns", "dropreason"}, `one plugin at most, got "dns" and "dropreason"`, ""},
		{[]string{"-o", "xml"}, `-o "xml" is not one of table, wide, json, yaml, name`, ""},
	} {
		out, err := execute(t, test.args...)
		if err == nil || err.Error() != test.err || hint.Of(err) != test.hint || exit.Code(err) != exit.Usage || out != "" {
			t.Errorf("%q: %v (hint %q, exit code %d), printed %q; want %s (%q)", test.args, err, hint.Of(err), exit.Code(err), out, test.err, test.hint)
		}
	}
}

func TestCompletion(t *testing.T) {
	found, _ := completeNames(nil, nil, "packet")
	var names []string
	for _, completion := range found {
		name, description, _ := strings.Cut(completion, "\t")
		names = append(names, name)
		if description == "" {
			t.Errorf("%s: no description", name)
		}
	}
	if want := []string{"packetforward", "packetparser", "packets"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if found, _ := completeNames(nil, []string{"dns"}, ""); len(found) > 0 {
		t.Errorf("after a name: %q", found)
	}
}
