package retina_test

import (
	"encoding"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	commands "github.com/kubectl-retina/kubectl-retina/internal/cli/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics/expect"
)

func readPage(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReportIsDocumented compares each type of the report with its section in
// docs/metrics.md: the same fields, in the same order.
func TestReportIsDocumented(t *testing.T) {
	page := readPage(t, "metrics.md")
	types := map[string]reflect.Type{}
	collect(reflect.TypeFor[metrics.Report](), types)
	collect(reflect.TypeFor[commands.Event](), types)
	collect(reflect.TypeFor[expect.Verdict](), types)
	collect(reflect.TypeFor[metrics.Change](), types)
	if len(types) < 15 {
		t.Fatalf("only %d types were found", len(types))
	}
	for name, of := range types {
		documented, ok := documentedFields(page, name)
		if fields := ownFields(of); !ok || !slices.Equal(fields, documented) {
			t.Errorf("docs/metrics.md, section %s (there: %t): fields\n%q, want\n%q", name, ok, documented, fields)
		}
	}
}

// collect finds the structs of a type's JSON, also embedded ones.
func collect(t reflect.Type, into map[string]reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		collect(t.Elem(), into)
	case reflect.Struct:
		if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextMarshaler]()) || into[t.Name()] != nil {
			return
		}
		into[t.Name()] = t
		for i := range t.NumField() {
			collect(t.Field(i).Type, into)
		}
	}
}

// ownFields are the JSON fields of a struct without those of embedded ones.
func ownFields(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); !t.Field(i).Anonymous {
			names = append(names, name)
		}
	}
	return names
}

// documentedFields are the names in the first column of a section's table.
func documentedFields(page, section string) ([]string, bool) {
	_, text, ok := strings.Cut(page, "\n### "+section+"\n")
	text, _, _ = strings.Cut(text, "\n##")
	var names []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(text, -1) {
		names = append(names, row[1])
	}
	return names, ok
}

func TestGrammarIsDocumented(t *testing.T) {
	if !strings.Contains(readPage(t, "metrics.md"), "```\n"+expect.Grammar+"\n```\n") {
		t.Error("docs/metrics.md has not the grammar of internal/metrics/expect, word by word")
	}
}

func TestNumbersAreDocumented(t *testing.T) {
	_, text, _ := strings.Cut(readPage(t, "metrics.md"), "\n## Numbers with names\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for _, column := range metrics.Columns(metrics.ByPod) {
		unit := strings.Replace(string(column.Unit), "us", "µs", 1)
		if row := "| `" + column.Name + "` | " + unit + " | "; column.Text == nil && !strings.Contains(text, row) {
			t.Errorf("docs/metrics.md has no row %s", row)
		}
	}
}

// TestManifestsAreObjects reads the manifests in docs/prometheus.md as the API
// server would that is strict about fields.
func TestManifestsAreObjects(t *testing.T) {
	kinds := map[string]func() any{
		"Namespace": func() any { return new(corev1.Namespace) }, "ServiceAccount": func() any { return new(corev1.ServiceAccount) },
		"Role": func() any { return new(rbacv1.Role) }, "RoleBinding": func() any { return new(rbacv1.RoleBinding) },
		"ClusterRole": func() any { return new(rbacv1.ClusterRole) }, "ClusterRoleBinding": func() any { return new(rbacv1.ClusterRoleBinding) },
		"Deployment": func() any { return new(appsv1.Deployment) }, "Service": func() any { return new(corev1.Service) },
	}
	var found []string
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readPage(t, "prometheus.md"), -1) {
		for document := range strings.SplitSeq(block[1], "\n---\n") {
			var meta struct {
				Kind string `json:"kind"`
			}
			if err := yaml.Unmarshal([]byte(document), &meta); err != nil {
				t.Errorf("%v in\n%s", err, document)
			}
			if create := kinds[meta.Kind]; create != nil {
				found = append(found, meta.Kind)
				if err := yaml.UnmarshalStrict([]byte(document), create()); err != nil {
					t.Errorf("%s: %v", meta.Kind, err)
				}
			}
		}
	}
	slices.Sort(found)
	if len(slices.Compact(found)) != len(kinds) {
		t.Errorf("objects %q, want some of each of %d kinds", found, len(kinds))
	}
}

// TestMetricsInDocsExist looks up each metric's name in the pages.
func TestMetricsInDocsExist(t *testing.T) {
	known := map[string]bool{}
	for _, m := range catalogue(t).Metrics() {
		for _, series := range m.Series() {
			known[series] = true
		}
	}
	names := regexp.MustCompile(`networkobservability_[a-z_]*[a-z]\b`).FindAllString(readPage(t, "prometheus.md")+readPage(t, "metrics.md"), -1)
	if len(names) < 5 {
		t.Errorf("only %d names were found", len(names))
	}
	for _, name := range names {
		if !known[name] && name != "networkobservability_adv_dns" { // a pattern
			t.Errorf("%s is in the docs, and not in the catalogue", name)
		}
	}
}

// pages are the project's Markdown files by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (strings.HasPrefix(name, ".") && name != "." || slices.Contains([]string{"bin", "dist", "node_modules"}, name)):
			return filepath.SkipDir
		case filepath.Ext(name) != ".md":
			return nil
		}
		text, err := os.ReadFile(name)
		all[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d pages", len(all))
	}
	return all
}

// TestLinks follows every link of the pages that stays in the project, to the
// heading.
func TestLinks(t *testing.T) {
	all := pages(t)
	checked := 0
	for page, text := range all {
		text = regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
		for _, link := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			to, heading, _ := strings.Cut(link[1], "#")
			if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			checked++
			target := page
			if to != "" {
				target = path.Join(path.Dir(page), to)
			}
			if _, err := os.Stat(filepath.FromSlash(target)); err != nil {
				t.Errorf("%s: link to %s: %v", page, link[1], err)
				continue
			}
			if heading != "" && !slices.Contains(headings(all[target]), heading) {
				t.Errorf("%s: link to %s: there is no such heading", page, link[1])
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d links were found", checked)
	}
}

// headings are the anchors that GitHub makes of a page's headings.
func headings(page string) []string {
	var all []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(page, -1) {
		anchor := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		all = append(all, strings.ReplaceAll(anchor, " ", "-"))
	}
	return all
}

// TestShellBlocks looks at the blocks of commands in the pages: each line is one
// that TestExamples of e2e runs, or calls a make target that exists, or the block
// says what it needs. The reference has the help texts.
func TestShellBlocks(t *testing.T) {
	shell := regexp.MustCompile(`(?m)^(kubectl|make|sudo|go) `)
	targets := makeTargets(t)
	for page, text := range pages(t) {
		for _, block := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```").FindAllStringSubmatch(text, -1) {
			language, lines := block[1], block[2]
			if language == "" && shell.MatchString(lines) && !strings.HasPrefix(page, "docs/reference/") {
				t.Errorf("%s: this block of commands does not begin with ```sh:\n%s", page, lines)
			}
			if language == "sh" && !strings.HasPrefix(lines, "# needs ") {
				for line := range strings.SplitSeq(lines, "\n") {
					if err := runs(line, targets); err != nil {
						t.Errorf("%s: no test runs %q: %v", page, line, err)
					}
				}
			}
		}
	}
}

func runs(line string, targets map[string]bool) error {
	if regexp.MustCompile(`^(#.*|kubectl retina [a-z]+ .*|)$`).MatchString(line) {
		return nil
	}
	target := regexp.MustCompile(`^make ([a-z-]+) *(#.*)?$`).FindStringSubmatch(line)
	if target == nil {
		return errors.New("let its block begin with `# needs …`")
	}
	if !targets[target[1]] {
		return errors.New("there is no such target")
	}
	return nil
}
