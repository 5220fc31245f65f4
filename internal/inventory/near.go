package inventory

import (
	"cmp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Near returns the names of at most three captures of the list that name may be
// a slip of, the nearest first: some letters are wrong, or the end is missing.
func (l *CaptureList) Near(name string) []string {
	const most = 3
	type match struct {
		name     string
		distance int
	}
	limit := (len(name) + 2) / 3
	var matches []match
	for i := range l.Items {
		candidate := l.Items[i].Name
		distance := levenshtein.ComputeDistance(name, candidate)
		if distance > limit && strings.HasPrefix(candidate, name) {
			distance = limit
		}
		if distance <= limit {
			matches = append(matches, match{candidate, distance})
		}
	}
	slices.SortFunc(matches, func(a, b match) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, m := range matches[:min(most, len(matches))] {
		if !slices.Contains(names, m.name) {
			names = append(names, m.name)
		}
	}
	return names
}
