package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"
)

// Formats are those of Print.
func Formats() []string { return []string{"table", "json", "yaml"} }

// Print writes the report.
func (r *Report) Print(w io.Writer, format string) error {
	var text []byte
	var err error
	switch format {
	case "json":
		text, err = json.MarshalIndent(r, "", "  ")
		text = append(text, '\n')
	case "yaml":
		text, err = yaml.Marshal(r)
	case "table":
		text = []byte(r.table())
	default:
		return fmt.Errorf("unknown format %q", format)
	}
	if err == nil {
		_, err = w.Write(text)
	}
	return err
}

// nothing stands for a check of the cluster where the node's name would be.
const nothing = "-"

// table has a line for each check, and below it what to do, said once for all
// checks of one name.
func (r *Report) table() string {
	rows := [][4]string{{"CHECK", "NODE", "STATUS", "DETAIL"}}
	for i := range r.Checks {
		c := &r.Checks[i]
		node := c.Node
		if node == "" {
			node = nothing
		}
		rows = append(rows, [4]string{c.Name, node, string(c.Status), c.Detail})
	}
	var widths [3]int
	for _, row := range rows {
		for i := range widths {
			widths[i] = max(widths[i], len(row[i]))
		}
	}
	var b strings.Builder
	said := map[string]bool{}
	for i, row := range rows {
		fmt.Fprintf(&b, "%-*s   %-*s   %-*s   %s\n", widths[0], row[0], widths[1], row[1], widths[2], row[2], row[3])
		if i == 0 {
			continue
		}
		if h := r.Checks[i-1].Hint; h != "" && !said[h] {
			said[h] = true
			fmt.Fprintf(&b, "  hint: %s\n", h)
		}
	}
	return b.String()
}
