package expect

import (
	"encoding/xml"
	"fmt"
	"io"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics/print"
)

// Words for outcomes.
const (
	held        = "held"
	failed      = "FAILED"
	notMeasured = "not measured"
)

func (v *Verdict) outcome() string {
	switch {
	case !v.Measured:
		return notMeasured
	case v.Held:
		return held
	}
	return failed
}

// Count returns how many verdicts failed, and how many were not measured.
func Count(verdicts []Verdict) (failures, unmeasured int) {
	for i := range verdicts {
		switch verdicts[i].outcome() {
		case failed:
			failures++
		case notMeasured:
			unmeasured++
		}
	}
	return failures, unmeasured
}

// Table writes verdicts for people, one a line.
func Table(to io.Writer, verdicts []Verdict, width int) error {
	grid := print.NewGrid("RESULT", "EXPECTATION", "MEASURED")
	for i := range verdicts {
		grid.Add(verdicts[i].outcome(), verdicts[i].Expectation.String(), verdicts[i].Text)
	}
	return grid.Print(to, width)
}

type testSuite struct {
	XMLName   xml.Name   `xml:"testsuite"`
	Name      string     `xml:"name,attr"`
	Tests     int        `xml:"tests,attr"`
	Failures  int        `xml:"failures,attr"`
	Errors    int        `xml:"errors,attr"`
	Skipped   int        `xml:"skipped,attr"`
	Timestamp string     `xml:"timestamp,attr"` // UTC, without a zone, as its schema wants
	Cases     []testCase `xml:"testcase"`
}

type testCase struct {
	Class   string   `xml:"classname,attr"`
	Name    string   `xml:"name,attr"`
	Failure *message `xml:"failure"`
	Error   *message `xml:"error"`
	Output  string   `xml:"system-out,omitempty"`
}

type message struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes verdicts as a test suite of JUnit's XML: an expectation that failed
// is a failure, one that was not measured an error. at is when they were measured.
func JUnit(to io.Writer, name string, at time.Time, verdicts []Verdict) error {
	suite := testSuite{Name: name, Tests: len(verdicts), Timestamp: at.UTC().Format("2006-01-02T15:04:05")}
	suite.Failures, suite.Errors = Count(verdicts)
	for i := range verdicts {
		v := &verdicts[i]
		c := testCase{Class: "expect", Name: v.Expectation.String()}
		switch v.outcome() {
		case failed:
			c.Failure = &message{Message: v.Text, Type: "failed", Text: v.parts()}
		case notMeasured:
			c.Error = &message{Message: v.Text, Type: "not measured"}
		default:
			c.Output = v.Text
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(to, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(to)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(to, "\n")
	return err
}

// parts lists the worst parts, a line each.
func (v *Verdict) parts() string {
	var text string
	for _, p := range v.Worst {
		text += fmt.Sprintf("%s %s\n", print.Number(p.Value, v.Unit), p.Name)
	}
	return text
}
