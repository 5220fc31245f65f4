package metrics

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// SortKeys returns the keys that [Report.Sort] takes.
func SortKeys(by By) []string {
	var names []string
	for _, c := range Columns(by) {
		names = append(names, c.Name)
	}
	return names
}

// Sort orders the rows by a column: numbers with the largest first, labels by the
// alphabet. Rows that are equal, and those without such a number, which come last,
// keep the order of their labels.
func (r *Report) Sort(key string) error {
	column, ok := FindColumn(r.By, key)
	if !ok {
		return unknownKey(key, r.By)
	}
	r.Rows = sortBy(r.Rows, func(row *Row) rowKey { return row.key(r.By) }, rowKey.compare, nil)
	type ranked struct {
		text   string
		number float64
		ok     bool
	}
	rank := func(row *Row) ranked {
		if column.Text != nil {
			return ranked{text: column.Text(row), ok: true}
		}
		number, ok := column.Value(&row.Values)
		return ranked{number: number, ok: ok}
	}
	r.Rows = sortBy(r.Rows, rank, func(a, b ranked) int {
		if a.ok != b.ok {
			return map[bool]int{true: -1, false: 1}[a.ok]
		}
		return cmp.Or(cmp.Compare(b.number, a.number), compareText(a.text, b.text))
	}, nil)
	return nil
}

// compareText orders numbers by their value and other text by the alphabet.
func compareText(a, b string) int {
	x, errA := strconv.ParseUint(a, 10, 64)
	y, errB := strconv.ParseUint(b, 10, 64)
	if errA == nil && errB == nil {
		return cmp.Compare(x, y)
	}
	return strings.Compare(a, b)
}

// Top keeps the first n rows. n <= 0 keeps all.
func (r *Report) Top(n int) {
	if n > 0 && n < len(r.Rows) {
		r.Rows = slices.Clone(r.Rows[:n])
	}
}

func unknownKey(key string, by By) error {
	names := SortKeys(by)
	err := fmt.Errorf("no column %q to sort by; there are %s", key, strings.Join(names, ", "))
	if near := Nearest(columnName(key), names); near != "" {
		return hint.Wrap(err, fmt.Sprintf("did you mean %q?", near))
	}
	return err
}

// Nearest returns the name that was probably meant by word; "" if none is like it.
func Nearest(word string, names []string) string {
	best, distance := "", max(1, (len(word)+1)/3)+1
	for _, name := range names {
		if d := levenshtein.ComputeDistance(word, name); d < distance {
			best, distance = name, d
		}
	}
	return best
}
