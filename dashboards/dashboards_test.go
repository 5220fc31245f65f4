package dashboards

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	retina "github.com/kubectl-retina/kubectl-retina"
)

func all(t *testing.T) []Dashboard {
	t.Helper()
	found, err := All()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestDashboardsAreComplete(t *testing.T) {
	uids := map[string]bool{}
	var names []string
	for _, d := range all(t) {
		names = append(names, d.File)
		if d.Title == "" || d.UID == "" || uids[d.UID] || d.Description == "" || d.SchemaVersion < 39 {
			t.Errorf("%s: title %q, uid %q, description %q, schemaVersion %d", d.File, d.Title, d.UID, d.Description, d.SchemaVersion)
		}
		uids[d.UID] = true
		ids := map[int]bool{}
		for i := range d.Panels {
			p := &d.Panels[i]
			if p.Title == "" || p.ID == 0 || ids[p.ID] {
				t.Errorf("%s: panel %d %q: no title, or its number is another's", d.File, p.ID, p.Title)
			}
			ids[p.ID] = true
			if p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X < 0 || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s: %s: at %+v", d.File, p.Title, p.GridPos)
			}
			for j := range d.Panels[:i] {
				if q := &d.Panels[j]; overlap(p, q) {
					t.Errorf("%s: %s lies over %s", d.File, p.Title, q.Title)
				}
			}
			for _, problem := range incomplete(p) {
				t.Errorf("%s: %s: %s", d.File, p.Title, problem)
			}
		}
	}
	if want := []string{"cluster.json", "dns.json", "drops.json", "pod.json"}; !slices.Equal(names, want) {
		t.Errorf("dashboards %q, want %q", names, want)
	}
}

func overlap(a, b *Panel) bool {
	return a.GridPos.X < b.GridPos.X+b.GridPos.W && b.GridPos.X < a.GridPos.X+a.GridPos.W &&
		a.GridPos.Y < b.GridPos.Y+b.GridPos.H && b.GridPos.Y < a.GridPos.Y+a.GridPos.H
}

// incomplete returns what a panel lacks.
func incomplete(p *Panel) []string {
	if p.Type == "row" {
		return nil
	}
	var problems []string
	prometheus := Datasource{Type: "prometheus", UID: "${datasource}"}
	if p.Datasource != prometheus {
		problems = append(problems, fmt.Sprintf("datasource %+v", p.Datasource))
	}
	if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
		problems = append(problems, "no description, unit or query")
	}
	for _, target := range p.Targets {
		if target.Datasource != prometheus || target.RefID == "" {
			problems = append(problems, fmt.Sprintf("query %q: datasource %+v", target.RefID, target.Datasource))
		}
		if target.LegendFormat == "" && p.Type != "table" {
			problems = append(problems, fmt.Sprintf("query %s: no legend", target.RefID))
		}
	}
	return problems
}

func TestVariables(t *testing.T) {
	for _, d := range all(t) {
		var names []string
		for _, v := range d.Templating.List {
			names = append(names, v.Name)
			if v.Type == "datasource" {
				continue
			}
			match := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(v.Definition)
			if v.Type != "query" || match == nil || v.AllValue != ".*" || v.Datasource.UID != "${datasource}" {
				t.Errorf("%s: variable %s: %+v", d.File, v.Name, v)
				continue
			}
			for _, problem := range judge(t, fmt.Sprintf("sum by (%s) (%s)", match[2], match[1]), "", true) {
				t.Errorf("%s: variable %s: %s", d.File, v.Name, problem)
			}
		}
		used := map[string]bool{"datasource": true}
		for _, q := range d.Queries() {
			for _, name := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(q.Expr, -1) {
				used[name[1]] = true
				if !strings.HasPrefix(name[1], "__") && !slices.Contains(names, name[1]) {
					t.Errorf("%s: there is no variable %s", q.Where, name[1])
				}
			}
		}
		for _, v := range d.Templating.List {
			if !used[v.Name] && !strings.Contains(definitions(d), "$"+v.Name+`"`) {
				t.Errorf("%s: variable %s changes nothing", d.File, v.Name)
			}
		}
	}
}

func definitions(d Dashboard) string {
	var text strings.Builder
	for _, v := range d.Templating.List {
		text.WriteString(v.Definition)
	}
	return text.String()
}

// TestQueriesAreOfTheCatalogue checks each metric and label of each query.
func TestQueriesAreOfTheCatalogue(t *testing.T) {
	queries := 0
	for _, d := range all(t) {
		for i := range d.Panels {
			for _, target := range d.Panels[i].Targets {
				queries++
				for _, problem := range judge(t, target.Expr, target.LegendFormat, false) {
					t.Errorf("%s: %s, %s: %s\n%s", d.File, d.Panels[i].Title, target.RefID, problem, target.Expr)
				}
			}
		}
	}
	if queries < 50 {
		t.Errorf("only %d queries were looked at", queries)
	}
}

func TestJudge(t *testing.T) {
	const forward = "networkobservability_forward_count_total"
	for _, test := range []struct{ expr, legend, want string }{
		{`sum by (node) (rate(` + forward + `{direction="ingress"}[1m]))`, "{{node}}", ""},
		{`sum by (le, node) (rate(networkobservability_adv_dns_latency_seconds_bucket[1m]))`, "x", ""},
		{forward + `[`, "", "no token"},
		{`sum(rate(networkobservability_x_total[1m]))`, "", "no metric"},
		{`sum(rate(networkobservability_forward_count[1m]))`, "", "another name"},
		{`sum by (pod) (rate(` + forward + `[1m]))`, "", "no label pod"},
		{`sum(rate(` + forward + `{podname="x"}[1m]))`, "", "no label podname"},
		{`sum by (le) (rate(` + forward + `[1m]))`, "", "no label le"},
		{`sum(` + forward + `)`, "", "rate"},
		{`sum(rate(` + forward + `))`, "", "rate"},
		{`sum(rate(networkobservability_tcp_state[1m]))`, "", "rate"},
		{`sum by (node) (rate(` + forward + `[1m]))`, "{{direction}}", "legend"},
		{`histogram_quantile(0.9, sum by (node) (rate(networkobservability_adv_dns_latency_seconds_bucket[1m])))`, "x", "by le"},
	} {
		problems := strings.Join(judge(t, test.expr, test.legend, false), "\n")
		if test.want == "" && problems != "" || !strings.Contains(problems, test.want) {
			t.Errorf("%s, legend %q: %q, want %q", test.expr, test.legend, problems, test.want)
		}
	}
}

// judge returns what is wrong with a query and its legend. Variables name
// counters only to list their labels.
func judge(t *testing.T, expr, legend string, variable bool) []string {
	t.Helper()
	catalogue, err := retina.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	q, err := parseQuery(expr)
	if err != nil {
		return []string{err.Error()}
	}
	var problems []string
	for _, s := range q.selectors {
		m := metricOf(catalogue, s.metric)
		if m == nil {
			problems = append(problems, "no metric "+s.metric)
			continue
		}
		if s.metric == m.Retina && m.Retina != m.Name {
			problems = append(problems, s.metric+" is another name of "+m.Name)
		}
		if cumulative := m.Type != retina.Gauge; !variable && (cumulative != s.rated || cumulative != s.window) {
			problems = append(problems, fmt.Sprintf("%s is a %s: rate of it %t, range %t", s.metric, m.Type, s.rated, s.window))
		}
		problems = append(problems, unknownLabels(catalogue, s, s.labels)...)
	}
	for _, a := range q.aggregations {
		for _, s := range a.selectors {
			problems = append(problems, unknownLabels(catalogue, s, a.by)...)
			if strings.HasSuffix(s.metric, "_bucket") && !slices.Contains(a.by, "le") {
				problems = append(problems, s.metric+" is not summed by le")
			}
		}
	}
	return append(problems, badLegend(q, legend)...)
}

// metricOf returns the metric that has a series.
func metricOf(c *retina.Catalogue, series string) *retina.Metric {
	all := c.Metrics()
	for i := range all {
		if slices.Contains(all[i].Series(), series) {
			return &all[i]
		}
	}
	return nil
}

func unknownLabels(c *retina.Catalogue, s selector, labels []string) []string {
	var problems []string
	m := metricOf(c, s.metric)
	for _, label := range labels {
		known := m != nil && slices.Contains(c.LabelsOf(m), label) && (label != "le" || strings.HasSuffix(s.metric, "_bucket"))
		if !known {
			problems = append(problems, fmt.Sprintf("%s has no label %s", s.metric, label))
		}
	}
	return problems
}

// badLegend finds labels in a legend that the query's result does not have.
func badLegend(q *parsed, legend string) []string {
	var problems []string
	for _, match := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(legend, -1) {
		for _, a := range q.aggregations {
			if !slices.Contains(a.by, match[1]) {
				problems = append(problems, "legend has "+match[1]+", which is summed up")
			}
		}
	}
	return problems
}

func TestPromQL(t *testing.T) {
	q := Query{Expr: `rate(a{node=~"$node", b="$"}[$__rate_interval])`}
	if got, want := q.PromQL("30s"), `rate(a{node=~".*", b="$"}[30s])`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
