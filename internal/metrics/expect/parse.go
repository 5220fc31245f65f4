package expect

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// maxText bounds an expectation, in bytes.
const maxText = 4096

// An Expectation is a condition on a report.
type Expectation struct {
	text    string
	metric  metric
	rate    bool
	labels  []matcher
	compare string
	bound   float64 // in the metric's unit: µs for times, 1 for all of a ratio
}

// String returns the text that e was parsed from.
func (e *Expectation) String() string { return e.text }

// MarshalText returns the text that e was parsed from.
func (e *Expectation) MarshalText() ([]byte, error) { return []byte(e.text), nil }

// A SyntaxError says where an expectation is wrong.
type SyntaxError struct {
	Text  string // all of the expectation
	At    int    // in bytes
	Cause string
}

// Error shows the place with a caret, in three lines.
func (e *SyntaxError) Error() string {
	shown := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(e.Text, "?"))
	before := utf8.RuneCountInString(strings.ToValidUTF8(e.Text[:min(e.At, len(e.Text))], "?"))
	return fmt.Sprintf("expectation: %s\n  %s\n  %s^", e.Cause, shown, strings.Repeat(" ", before))
}

// Parse reads an expectation. Its errors wrap a *SyntaxError and carry a hint
// where one is to be had.
func Parse(text string) (*Expectation, error) {
	text = strings.TrimSpace(text)
	p := &parser{text: text}
	if len(text) > maxText {
		p.text = text[:40]
		return nil, p.errorf(0, "", "longer than %d bytes", maxText)
	}
	e := &Expectation{text: text}
	for _, step := range []func(*Expectation) error{p.metric, p.labels, p.comparison, p.bound} {
		p.blanks()
		if err := step(e); err != nil {
			return nil, err
		}
	}
	return e, nil
}

type parser struct {
	text string
	at   int
}

func (p *parser) rest() string { return p.text[p.at:] }

func (p *parser) blanks() {
	p.at = len(p.text) - len(strings.TrimLeftFunc(p.rest(), unicode.IsSpace))
}

// take returns the longest beginning of the rest whose characters are all ok.
func (p *parser) take(ok func(rune) bool) string {
	end := strings.IndexFunc(p.rest(), func(r rune) bool { return !ok(r) })
	if end < 0 {
		end = len(p.rest())
	}
	taken := p.rest()[:end]
	p.at += end
	return taken
}

// accept takes one of the words, which come in the order of preference.
func (p *parser) accept(words ...string) string {
	for _, word := range words {
		if strings.HasPrefix(p.rest(), word) {
			p.at += len(word)
			return word
		}
	}
	return ""
}

func (p *parser) errorf(at int, advice, format string, args ...any) error {
	return hint.Wrap(&SyntaxError{Text: p.text, At: at, Cause: fmt.Sprintf(format, args...)}, advice)
}

func nameRune(r rune) bool {
	return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '.' || r == '-')
}

func (p *parser) metric(e *Expectation) error {
	start := p.at
	name := p.take(nameRune)
	if name == "" {
		return p.errorf(start, `write one such as 'drops == 0'`, "no metric")
	}
	m, ok := findMetric(name)
	if !ok {
		return p.errorf(start, didYouMean(canonical(name), metricNames()), "there is no metric %q", name)
	}
	e.metric = m
	slash := p.at
	if p.accept("/s") != "" {
		if e.rate = true; !m.counter() {
			return p.errorf(slash, "leave out /s", "only counters have a rate, and %s is none", name)
		}
	}
	return nil
}

func metricNames() []string {
	var names []string
	for _, m := range allMetrics() {
		names = append(names, m.name)
	}
	return names
}

func didYouMean(word string, names []string) string {
	if near := metrics.Nearest(word, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "there are " + strings.Join(names, ", ")
}

func (p *parser) labels(e *Expectation) error {
	if p.accept("{") == "" {
		return nil
	}
	for {
		p.blanks()
		if p.accept("}") != "" {
			return nil
		}
		if err := p.label(e); err != nil {
			return err
		}
		p.blanks()
		if p.accept(",") == "" && !strings.HasPrefix(p.rest(), "}") {
			return p.errorf(p.at, "", `expected "," or "}"`)
		}
	}
}

func (p *parser) label(e *Expectation) error {
	start := p.at
	name := strings.ToLower(p.take(nameRune))
	if known := e.metric.labels(); !slices.Contains(known, name) {
		if slices.Contains(flowLabels(), name) && e.metric.flows {
			return p.errorf(start, "use the mean or the maximum, which are known for each flow", "quantiles are known for targets only, and %s is a label of flows", name)
		}
		return p.errorf(start, didYouMean(name, known), "%s has no label %q", e.metric.name, name)
	}
	p.blanks()
	op := p.accept("==", "=~", "!~", "!=", "=")
	if op == "" {
		return p.errorf(p.at, "", `expected "=", "!=", "=~" or "!~"`)
	}
	p.blanks()
	at := p.at
	value, err := p.quoted()
	if err != nil {
		return err
	}
	m := matcher{label: name, negate: op[0] == '!'}
	if strings.HasSuffix(op, "~") {
		if m.pattern, err = regexp.Compile("^(?:" + value + ")$"); err != nil {
			return p.errorf(at, "", "bad regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
	} else {
		m.value = value
	}
	if advice := e.impossible(&m); advice != "" {
		return p.errorf(at, advice, "no %s is ever %q", name, value)
	}
	e.labels = append(e.labels, m)
	return nil
}

// quoted takes a text in quotes of either kind.
func (p *parser) quoted() (string, error) {
	start := p.at
	quote := p.accept(`"`, `'`)
	if quote == "" {
		return "", p.errorf(start, "", "expected a value in quotes")
	}
	var b strings.Builder
	for rest := p.rest(); rest != ""; rest = p.rest() {
		switch {
		case strings.HasPrefix(rest, quote):
			p.at++
			return b.String(), nil
		case rest[0] == '\\' && len(rest) > 1 && (rest[1] == quote[0] || rest[1] == '\\'):
			b.WriteByte(rest[1])
			p.at += 2
		default:
			b.WriteByte(rest[0])
			p.at++
		}
	}
	return "", p.errorf(start, "", "the quote is not closed")
}

func (p *parser) comparison(e *Expectation) error {
	start := p.at
	if e.compare = p.accept("==", "!=", "<=", ">=", "<", ">"); e.compare == "" {
		advice := ""
		if strings.HasPrefix(p.rest(), "=") {
			advice = "write =="
		}
		return p.errorf(start, advice, "expected ==, !=, <, <=, > or >=")
	}
	return nil
}

func (p *parser) bound(e *Expectation) error {
	start := p.at
	if strings.HasPrefix(p.rest(), "-") {
		return p.errorf(start, "", "no metric is ever negative")
	}
	digits := number().FindString(p.rest())
	if digits == "" {
		return p.errorf(start, "", "expected a number")
	}
	p.at += len(digits)
	value, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return p.errorf(start, "", "number is too large")
	}
	p.blanks()
	at := p.at
	unit := p.take(func(r rune) bool { return r == '%' || unicode.IsLetter(r) })
	if e.bound, err = p.scale(e, value, unit, at); err != nil {
		return err
	}
	p.blanks()
	if p.rest() != "" {
		return p.errorf(p.at, "give each expectation with a flag of its own", "more follows")
	}
	return nil
}

func number() *regexp.Regexp {
	return regexp.MustCompile(`^([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?`)
}
