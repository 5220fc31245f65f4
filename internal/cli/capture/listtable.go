package capture

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
)

const (
	// briefStatus is how much of a status there is room for; -o wide has it all.
	briefStatus = 48
	// nothing stands for what is not known.
	nothing = "-"
	// someNodes is how many nodes a line names.
	someNodes = 3
)

// A captureTable prints captures, one line each. It remembers how wide its
// columns are, so that a watch goes on below what it has printed.
type captureTable struct {
	out        io.Writer
	now        func() time.Time
	wide       bool
	namespaces bool
	headers    bool // still to be printed
	widths     []int
}

func (t *captureTable) titles() []string {
	titles := []string{"NAME", "STATUS", "NODES", "PODS", "PACKETS", "SIZE", "DESTINATION", "AGE", "LEFT"}
	if t.namespaces {
		titles = append([]string{"NAMESPACE"}, titles...)
	}
	if t.wide {
		titles = append(titles, "LOST", "MODE", "TARGETS", "NODE NAMES")
	}
	return titles
}

// rows are the cells of captures.
func (t *captureTable) rows(captures []inventory.Capture) [][]string {
	var rows [][]string
	for i := range captures {
		c := &captures[i]
		cells := t.cells(c)
		times := []string{duration.HumanDuration(t.now().Sub(c.CreatedAt)), t.left(c)}
		at := len(cells)
		if t.wide {
			at -= 4
		}
		rows = append(rows, append(append(append([]string{}, cells[:at]...), times...), cells[at:]...))
	}
	return rows
}

// lasting is what a line says but for the times, which change by themselves.
func (t *captureTable) lasting(c *inventory.Capture) string { return strings.Join(t.cells(c), "\x00") }

// cells are the cells without the times.
func (t *captureTable) cells(c *inventory.Capture) []string {
	status, destination := c.StatusText(), t.destination(c)
	if !t.wide {
		status = brief(status, briefStatus)
	}
	packets, lost := nothing, nothing
	if c.Counts != nil {
		packets, lost = comma(c.Counts.Packets), comma(c.Counts.Lost)
	}
	size := nothing
	if c.Bytes > 0 {
		size = humanize.Bytes(uint64(c.Bytes))
	}
	nodes := fmt.Sprint(len(c.Nodes))
	if failed := c.Failures(); failed > 0 {
		nodes = fmt.Sprintf("%d/%d", len(c.Nodes)-failed, len(c.Nodes))
	}
	cells := []string{c.Name, status, nodes, fmt.Sprint(c.Pods), packets, size, destination}
	if t.namespaces {
		cells = append([]string{c.Namespace}, cells...)
	}
	if t.wide {
		cells = append(cells, lost, c.Mode, orNothing(c.Targets), orNothing(nodeNames(c)))
	}
	return cells
}

// destination says where archives go: in wide lines the places, else their kinds.
func (t *captureTable) destination(c *inventory.Capture) string {
	if len(c.Destinations) == 0 {
		if c.Mode == inventory.ModeStream {
			return "stream"
		}
		return "none"
	}
	var words []string
	for _, where := range c.Destinations {
		if kind := placeKind(where); kind != "" && !t.wide {
			where = kind
		}
		words = append(words, where)
	}
	return strings.Join(words, ",")
}

// Kinds of places, as the texts of destinations begin.
const (
	placeBlob = "blob"
	placeS3   = "s3"
	placePVC  = "pvc"
	placeHost = "host path"
)

// placeKind is the kind of a place, or "".
func placeKind(where string) string {
	for _, kind := range []string{placeBlob, placeS3, placePVC, placeHost} {
		if strings.HasPrefix(where, kind+" ") {
			return kind
		}
	}
	return ""
}

// left is how long the capture is still there.
func (t *captureTable) left(c *inventory.Capture) string {
	until := c.ExpiresAt
	if c.Status == inventory.Kept && c.KeptUntil != nil {
		until = c.KeptUntil
	}
	if until == nil || c.Status == deleted {
		return nothing
	}
	return duration.HumanDuration(max(0, until.Sub(t.now())))
}

func (t *captureTable) print(rows [][]string) error {
	w := printers.GetNewTabWriter(t.out)
	w.SetRememberedWidths(t.widths)
	if t.headers {
		rows = append([][]string{t.titles()}, rows...)
		t.headers = false
	}
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	err := w.Flush()
	t.widths = w.RememberedWidths()
	return err
}

// nodeNames names the first nodes of a capture.
func nodeNames(c *inventory.Capture) string {
	var names []string
	for i := range c.Nodes {
		if i == someNodes {
			names = append(names, fmt.Sprintf("(%d more)", len(c.Nodes)-i))
			break
		}
		names = append(names, c.Nodes[i].Name)
	}
	return strings.Join(names, ",")
}

func orNothing(text string) string {
	if text == "" {
		return nothing
	}
	return text
}

// brief is the beginning of text, which says that there is more.
func brief(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
