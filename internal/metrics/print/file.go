package print

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"

	"sigs.k8s.io/yaml"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// JSON writes v, a report or what is made of reports, indented.
func JSON(to io.Writer, v any) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// YAML writes v as YAML with the names that JSON has.
func YAML(to io.Writer, v any) error {
	text, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	_, err = to.Write(text)
	return err
}

// CSV writes the rows of a report (RFC 4180): the columns are the same for every
// report by the same, in the same order, and new ones come last. Numbers are exact;
// times are in µs and say so in their name; what was not measured is empty.
func CSV(to io.Writer, r *metrics.Report) error {
	out := csv.NewWriter(to)
	out.UseCRLF = true
	columns := metrics.Columns(r.By)
	header := make([]string, len(columns))
	for i, c := range columns {
		header[i] = c.Name
		if c.Unit == metrics.UnitTime {
			header[i] += "_us"
		}
	}
	if err := out.Write(header); err != nil {
		return err
	}
	record := make([]string, len(columns))
	for i := range r.Rows {
		for j := range columns {
			record[j] = exact(r, &r.Rows[i], &columns[j])
		}
		if err := out.Write(record); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func exact(r *metrics.Report, row *metrics.Row, c *metrics.Column) string {
	switch {
	case c.Text != nil:
		return c.Text(row)
	case !c.Measured(r, row.Node):
		return ""
	case c.Count != nil:
		return strconv.FormatUint(c.Count(&row.Values), 10)
	}
	value, ok := c.Number(&row.Values)
	if !ok {
		return ""
	}
	return strconv.FormatFloat(value, 'f', -1, 64)
}

// Changes writes what has changed between two reports, at most so many; all when
// most is 0.
func Changes(to io.Writer, changes []metrics.Change, most, width int) error {
	grid := NewGrid("CHANGE", "METRIC", "BEFORE", "AFTER", "OF")
	for i := range changes {
		if most > 0 && i == most {
			grid.Hidden(len(changes)-most, "")
			break
		}
		c := &changes[i]
		how := Percent((c.After - c.Before) / nonZero(c.Before))
		before, after := Number(c.Before, c.Unit), Number(c.After, c.Unit)
		switch {
		case c.New:
			how, before = "new", ""
		case c.Gone:
			how, after = "gone", ""
		case c.Before == 0:
			how = "from 0"
		}
		grid.Add(how, c.Metric, before, after, c.What)
	}
	return grid.Print(to, width)
}

func nonZero(f float64) float64 {
	if f == 0 {
		return 1
	}
	return f
}
