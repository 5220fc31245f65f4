package dashboards

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A selector is a metric as a query names it.
type selector struct {
	metric string
	labels []string // it is selected by
	rated  bool     // it is the argument of rate or increase
	window bool     // it has a range
}

// An aggregation is a group of selectors with the labels that remain of them.
type aggregation struct {
	by        []string
	selectors []selector
}

// A query in its parts. The grammar is the part of PromQL that the dashboards
// use: aggregations with their labels in front, so that what they hold is what
// follows.
type parsed struct {
	selectors    []selector
	aggregations []aggregation
}

// tokenPattern has strings, ranges, numbers, names and signs, and blanks.
var tokenPattern = regexp.MustCompile(`^(?:"[^"\\]*"|\[[^\]]*\]|\d+(?:\.\d+)?|[a-zA-Z_:][\w:]*|=~|!~|!=|==|>=|<=|[-+*/<>=(){},]|\s+)`)

func tokens(expr string) ([]string, error) {
	var all []string
	for expr != "" {
		token := tokenPattern.FindString(expr)
		if token == "" {
			return nil, fmt.Errorf("no token at %q", expr)
		}
		expr = expr[len(token):]
		if strings.TrimSpace(token) != "" {
			all = append(all, token)
		}
	}
	return all, nil
}

// The names that are no metrics.
func aggregators() []string { return []string{"sum", "count", "max", "min", "avg"} }
func functions() []string {
	return []string{"rate", "increase", "histogram_quantile", "topk", "vector"}
}
func operators() []string { return []string{"or", "and", "unless"} }

// parseQuery takes a query apart.
func parseQuery(expr string) (*parsed, error) {
	all, err := tokens(expr)
	if err != nil {
		return nil, err
	}
	p := &parser{rest: all}
	if err := p.expression(""); err != nil {
		return nil, err
	}
	if len(p.rest) > 0 {
		return nil, fmt.Errorf("%q is left", p.rest)
	}
	return &p.parsed, nil
}

type parser struct {
	rest []string
	parsed
}

func (p *parser) peek() string {
	if len(p.rest) == 0 {
		return ""
	}
	return p.rest[0]
}

func (p *parser) next() string {
	token := p.peek()
	if token != "" {
		p.rest = p.rest[1:]
	}
	return token
}

func (p *parser) expect(token string) error {
	if got := p.next(); got != token {
		return fmt.Errorf("%q where %q should be", got, token)
	}
	return nil
}

// expression reads operands with operators between them, up to a closing sign.
func (p *parser) expression(function string) error {
	for {
		if err := p.operand(function); err != nil {
			return err
		}
		switch token := p.peek(); {
		case slices.Contains([]string{"+", "-", "*", "/", ">", "<", ">=", "<=", "==", "!="}, token), slices.Contains(operators(), token):
			p.next()
		default:
			return nil
		}
	}
}

func (p *parser) operand(function string) error {
	token := p.next()
	switch {
	case token == "(":
		if err := p.expression(""); err != nil {
			return err
		}
		return p.expect(")")
	case regexp.MustCompile(`^\d`).MatchString(token):
		return nil
	case slices.Contains(aggregators(), token):
		return p.aggregation()
	case slices.Contains(functions(), token):
		return p.call(token)
	case regexp.MustCompile(`^[a-z]\w*$`).MatchString(token) && !slices.Contains(operators(), token):
		return p.selector(token, function)
	}
	return fmt.Errorf("%q where an operand should be", token)
}

func (p *parser) aggregation() error {
	var a aggregation
	if p.peek() == "by" {
		p.next()
		if err := p.expect("("); err != nil {
			return err
		}
		for p.peek() != ")" {
			a.by = append(a.by, p.next())
			if p.peek() == "," {
				p.next()
			}
			if len(p.rest) == 0 {
				return fmt.Errorf("by without an end")
			}
		}
		p.next()
	}
	before := len(p.selectors)
	if err := p.expect("("); err != nil {
		return err
	}
	if err := p.expression(""); err != nil {
		return err
	}
	a.selectors = slices.Clone(p.selectors[before:])
	p.aggregations = append(p.aggregations, a)
	return p.expect(")")
}

func (p *parser) call(function string) error {
	if err := p.expect("("); err != nil {
		return err
	}
	for {
		if err := p.expression(function); err != nil {
			return err
		}
		if p.peek() != "," {
			return p.expect(")")
		}
		p.next()
	}
}

func (p *parser) selector(metric, function string) error {
	s := selector{metric: metric, rated: function == "rate" || function == "increase"}
	if p.peek() == "{" {
		p.next()
		for p.peek() != "}" {
			label, operator, value := p.next(), p.next(), p.next()
			if !slices.Contains([]string{"=", "!=", "=~", "!~"}, operator) || !strings.HasPrefix(value, `"`) {
				return fmt.Errorf("%s: %s%s%s is no matcher", metric, label, operator, value)
			}
			s.labels = append(s.labels, label)
			if p.peek() == "," {
				p.next()
			}
		}
		p.next()
	}
	if strings.HasPrefix(p.peek(), "[") {
		p.next()
		s.window = true
	}
	p.selectors = append(p.selectors, s)
	return nil
}

func TestParseQuery(t *testing.T) {
	for _, test := range []struct{ expr, want string }{
		{"a", "a[] "},
		{`a{x="1",y=~".*"} / (b > 0)`, "a[x y] b[] "},
		{`sum by (le, n) (rate(a_bucket{x!="y"}[1m]))`, "a_bucket[x] rated, by [le n] of a_bucket"},
		{`histogram_quantile(0.9, sum by (le) (rate(a[$__rate_interval]))) or vector(0)`, "a[] rated, by [le] of a"},
		{`sum(increase(a[1h])) + count(b == 0)`, "a[] rated b[] , by [] of a, by [] of b"},
	} {
		p, err := parseQuery(test.expr)
		if err != nil {
			t.Errorf("%s: %v", test.expr, err)
			continue
		}
		var got string
		for i, s := range p.selectors {
			if i > 0 && !strings.HasSuffix(got, " ") {
				got += " "
			}
			got += fmt.Sprintf("%s[%s] ", s.metric, strings.Join(s.labels, " "))
			if s.rated && s.window {
				got += "rated"
			}
		}
		for _, a := range p.aggregations {
			got += fmt.Sprintf(", by [%s] of %s", strings.Join(a.by, " "), a.selectors[0].metric)
		}
		if got != test.want {
			t.Errorf("%s:\n%q, want\n%q", test.expr, got, test.want)
		}
	}
	for _, expr := range []string{"", "sum", "sum(a", "a b", "sum(a) by (x)", "a{x}", "a{x=1}", "a{", "?", "by (x) a", "sum by (x", "rate()", "a +"} {
		if p, err := parseQuery(expr); err == nil {
			t.Errorf("%q: no error, but %+v", expr, p)
		}
	}
}
