package retina_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics/expect"
)

func catalogue(t testing.TB) *retina.Catalogue {
	t.Helper()
	c, err := retina.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCatalogueIsSound(t *testing.T) {
	for _, problem := range problems(catalogue(t)) {
		t.Error(problem)
	}
}

func TestCatalogueHasThePlugins(t *testing.T) {
	var names []string
	for _, p := range catalogue(t).Plugins {
		names = append(names, p.Name)
	}
	want := []string{"packetforward", "dropreason", "packetparser", "tcpretrans", "dns", "linuxutil", "apiserver", "packets"}
	if !slices.Equal(names, want) {
		t.Errorf("plugins %q, want %q", names, want)
	}
}

// TestProblemsAreFound breaks a sound catalogue, once for each rule.
func TestProblemsAreFound(t *testing.T) {
	for _, test := range []struct {
		breaks func(*retina.Catalogue)
		want   string
	}{
		{func(c *retina.Catalogue) { c.Plugins[1].Name = c.Plugins[0].Name }, "twice"},
		{func(c *retina.Catalogue) { c.Plugins[0].Name = "Bad" }, "name"},
		{func(c *retina.Catalogue) { c.Plugins[0].Summary = "" }, "summary"},
		{func(c *retina.Catalogue) { c.Plugins[0].Summary = "two\nlines" }, "summary"},
		{func(c *retina.Catalogue) { c.Plugins[0].Kernel = "six" }, "kernel"},
		{func(c *retina.Catalogue) { c.Plugins[0].Hooks = nil }, "hook"},
		{func(c *retina.Catalogue) { c.Plugins[0].Hooks[0].Fallback = "" }, "fallback"},
		{func(c *retina.Catalogue) { c.Plugins[0].Blind = nil }, "cannot see"},
		{func(c *retina.Catalogue) { c.Plugins[0].Command = "x" }, "command"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[0].Help = "" }, "help"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[0].Unit = "" }, "unit"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[0].Type = "rate" }, "type"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[0].Type = retina.Gauge }, "_total"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[0].Name = "networkobservability_x" }, "_total"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[0].Retina = "networkobservability_x" }, "Retina's name"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[1] = c.Plugins[0].Metrics[0] }, "twice"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[0].Context = "x" }, "context"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[0].Remote = "x" }, "remote"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[0].Labels = []string{"x"} }, "label"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[0].Labels = []string{"node"} }, "label"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[0].Report = nil }, "report"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[0].Report = []string{"rows[].packets"} }, "report"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[0].Group = "tcp" }, "group"},
		{func(c *retina.Catalogue) { c.Plugin("linuxutil").Metrics[0].Group = "x" }, "group"},
		{func(c *retina.Catalogue) { c.Plugins[0].Metrics[0].Expect = []string{"x"} }, "expect"},
		{func(c *retina.Catalogue) { c.Labels["unused"] = "x" }, "label"},
		{func(c *retina.Catalogue) { delete(c.Labels, "node") }, "label"},
		{func(c *retina.Catalogue) { c.Contexts[0].Labels[0] = "x" }, "label"},
	} {
		c := catalogue(t)
		test.breaks(c)
		found := problems(c)
		if !slices.ContainsFunc(found, func(p string) bool { return strings.Contains(p, test.want) }) {
			t.Errorf("problems %q, none with %q", found, test.want)
		}
	}
}

// problems returns what is wrong with a catalogue, a line each.
func problems(c *retina.Catalogue) []string {
	var p checker
	seen := map[string]bool{}
	for i := range c.Plugins {
		plugin := &c.Plugins[i]
		p.unless(!seen[plugin.Name], "plugin %s is there twice", plugin.Name)
		seen[plugin.Name] = true
		p.plugin(plugin)
	}
	all := c.Metrics()
	for i := range all {
		m := &all[i]
		for _, series := range m.Series() {
			p.unless(!seen[series], "series %s is there twice", series)
			seen[series] = true
		}
		p.metric(c, m)
	}
	p.labels(c, all)
	return p.found
}

type checker struct{ found []string }

func (p *checker) unless(ok bool, format string, args ...any) {
	if !ok {
		p.found = append(p.found, fmt.Sprintf(format, args...))
	}
}

func oneLine(text string) bool { return text != "" && !strings.Contains(text, "\n") }

func (p *checker) plugin(plugin *retina.Plugin) {
	kernel := regexp.MustCompile(`^[456]\.\d{1,2}$`)
	name := plugin.Name
	p.unless(regexp.MustCompile(`^[a-z]{3,20}$`).MatchString(name), "plugin %q: name is not of lower-case letters", name)
	p.unless(plugin.Command == "metrics" || plugin.Command == "capture", "plugin %s: command %q", name, plugin.Command)
	p.unless(oneLine(plugin.Summary), "plugin %s: summary is not one line", name)
	p.unless(oneLine(plugin.Description), "plugin %s: no description", name)
	p.unless(kernel.MatchString(plugin.Kernel), "plugin %s: kernel %q", name, plugin.Kernel)
	p.unless(len(plugin.Hooks) > 0, "plugin %s: no hook", name)
	p.unless(len(plugin.Blind) > 0, "plugin %s: does not say what it cannot see", name)
	p.unless(plugin.Command != "metrics" || len(plugin.Metrics) > 0, "plugin %s: no metrics", name)
	for _, hook := range plugin.Hooks {
		p.unless(oneLine(hook.Kind) && oneLine(hook.At), "plugin %s: a hook without kind or place", name)
		p.unless(kernel.MatchString(hook.Kernel), "plugin %s: hook %s: kernel %q", name, hook.Kind, hook.Kernel)
		p.unless(oneLine(hook.Fallback), "plugin %s: hook %s: no fallback", name, hook.Kind)
	}
}

func (p *checker) metric(c *retina.Catalogue, m *retina.Metric) {
	name := m.Name
	p.unless(regexp.MustCompile(`^networkobservability_[a-z_]+$`).MatchString(name), "metric %q: name", name)
	p.unless(slices.Contains([]string{retina.Counter, retina.Gauge, retina.Histogram}, m.Type), "metric %s: type %q", name, m.Type)
	p.unless(strings.HasSuffix(name, "_total") == (m.Type == retina.Counter), "metric %s: counters and no others end in _total", name)
	for _, reserved := range []string{"_count", "_sum", "_bucket"} {
		p.unless(!strings.HasSuffix(name, reserved), "metric %s: %s is for histograms", name, reserved)
	}
	if m.Retina != "" {
		p.unless(name == m.Retina || m.Type == retina.Counter && name == m.Retina+"_total", "metric %s: Retina's name is %s", name, m.Retina)
	}
	p.unless(strings.HasSuffix(name, "_seconds") == (m.Unit == "seconds"), "metric %s: unit %s", name, m.Unit)
	p.unless(oneLine(m.Unit), "metric %s: no unit", name)
	p.unless(oneLine(m.Help) && strings.HasSuffix(m.Help, "."), "metric %s: help is not a sentence", name)
	p.unless(c.Context(m.Context) != nil && m.Context != retina.ContextRemote, "metric %s: context %q", name, m.Context)
	if m.Remote != "" {
		p.unless(c.Plugin(m.Remote) != nil && m.Context == retina.ContextPod, "metric %s: remote %q", name, m.Remote)
	}
	p.unless(len(m.Report) > 0 || m.Context == retina.ContextEndpoint, "metric %s: not in the report", name)
	groups := []string{"tcp", "udp", "ip", "socket", "interface", "conntrack", "dns"} // of wire.StatSample
	p.unless(slices.Contains(groups, m.Group) == slices.Contains(m.Report, "stats[].value"), "metric %s: group %q", name, m.Group)
	for _, column := range m.Expect {
		_, err := expect.Parse(column + " >= 0")
		p.unless(err == nil, "metric %s: nothing to expect is called %s: %v", name, column, err)
	}
	for _, path := range m.Report {
		p.unless(hasPath(reflect.TypeFor[metrics.Report](), path), "metric %s: a report has no %s", name, path)
	}
}

// labels checks that labels are explained, and that nothing else is.
func (p *checker) labels(c *retina.Catalogue, all []retina.Metric) {
	used := map[string]bool{}
	for _, context := range c.Contexts {
		p.unless(oneLine(context.Summary), "context %s: no summary", context.Name)
		for _, label := range context.Labels {
			used[label] = true
		}
	}
	for i := range all {
		labels := c.LabelsOf(&all[i])
		for j, label := range labels {
			if label == "le" {
				continue
			}
			used[label] = true
			// node is of both contexts.
			p.unless(label == "node" && all[i].Remote != "" || !slices.Contains(labels[:j], label), "metric %s: label %s is there twice", all[i].Name, label)
		}
	}
	for label := range used {
		p.unless(oneLine(c.Labels[label]), "label %s is not explained", label)
	}
	for label := range c.Labels {
		p.unless(used[label], "label %s is explained, and no metric has it", label)
	}
}

// hasPath reports whether the JSON of a type has a path such as "rows[].drops".
func hasPath(t reflect.Type, path string) bool {
	head, rest, more := strings.Cut(path, ".")
	name, list := strings.CutSuffix(head, "[]")
	field, ok := jsonField(t, name)
	if !ok || list != (field.Kind() == reflect.Slice) && more {
		return false
	}
	if !more {
		return !list
	}
	return hasPath(field.Elem(), rest)
}

// jsonField finds a field by its name in JSON, also those of embedded structs.
func jsonField(t reflect.Type, name string) (reflect.Type, bool) {
	for _, field := range reflect.VisibleFields(t) {
		if tag, _, _ := strings.Cut(field.Tag.Get("json"), ","); tag == name && name != "" {
			return field.Type, true
		}
	}
	return nil, false
}

// TestExpectationsAreAllInTheCatalogue wants each number that can be expected in the
// metric that it is worked out of, below a plugin that counts it.
func TestExpectationsAreAllInTheCatalogue(t *testing.T) {
	plugins := map[string]string{}
	for _, p := range catalogue(t).Plugins {
		for _, m := range p.Metrics {
			for _, name := range m.Expect {
				plugins[name] = p.Name
			}
		}
	}
	for _, column := range metrics.Columns(metrics.ByPod) {
		if column.Text == nil && !slices.Contains(column.Plugins, plugins[column.Name]) {
			t.Errorf("%s is in the catalogue with plugin %q, not with one of %q", column.Name, plugins[column.Name], column.Plugins)
		}
	}
}

// TestHooksAreThoseOfThePrograms compares the tracepoints that programs attach to
// with the catalogue's.
func TestHooksAreThoseOfThePrograms(t *testing.T) {
	section := regexp.MustCompile(`(?:SEC|WITH_TWIN)\("(tp_btf|raw_tp|fentry|fexit|kprobe|tracepoint)/([\w/]+)"[,)]`)
	sources, err := filepath.Glob("bpf/*/*.bpf.[ch]")
	if err != nil || len(sources) == 0 {
		t.Fatalf("no programs: %v", err)
	}
	c := catalogue(t)
	attached := map[string]string{} // texts of programs by their plugin
	for _, source := range sources {
		name := filepath.Base(filepath.Dir(source))
		if name == "include" || name == "scope" { // shared
			continue
		}
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		attached[name] += string(text)
	}
	for name, text := range attached {
		plugin := c.Plugin(name)
		if plugin == nil {
			t.Errorf("bpf/%s: no plugin %s in the catalogue", name, name)
			continue
		}
		var found []string
		for _, match := range section.FindAllStringSubmatch(text, -1) {
			found = append(found, match[1]+" "+match[2])
			if !slices.ContainsFunc(plugin.Hooks, func(h retina.Hook) bool { return h.Kind == match[1] && h.At == match[2] }) {
				t.Errorf("bpf/%s attaches %s to %s, and the catalogue does not say so", name, match[1], match[2])
			}
		}
		for _, hook := range plugin.Hooks {
			if strings.HasPrefix(hook.Kind, "tp_") && !slices.Contains(found, hook.Kind+" "+hook.At) {
				t.Errorf("the catalogue says that %s attaches to %s, and its program does not", name, hook.At)
			}
		}
		tc := strings.Contains(text, `SEC("tc")`)
		if tc != slices.ContainsFunc(plugin.Hooks, func(h retina.Hook) bool { return h.Kind == "tcx" }) {
			t.Errorf("bpf/%s has programs for TCX: %t, and the catalogue says otherwise", name, tc)
		}
	}
}
