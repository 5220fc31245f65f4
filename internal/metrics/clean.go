package metrics

import (
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Bounds of what one collector says, in bytes and entries.
const (
	maxWord        = 64
	maxText        = 512
	maxName        = 1024 // a DNS name has 255 bytes, each of which may be written as \DDD
	maxCodes       = 64   // response codes of one name, errors of one API server
	maxUnsupported = 64
	maxLost        = 256 // kinds of losses
)

// clean returns text of a collector as one printable line of at most limit bytes.
func clean(text string, limit int) string {
	if plain(text) && len(text) <= limit {
		return text
	}
	text = oneline.Text(text[:min(len(text), 4*limit)])
	if len(text) <= limit {
		return text
	}
	text = text[:limit]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1] // the first half of a rune
	}
	return text
}

// plain reports whether text is of visible ASCII characters only, as nearly all is.
func plain(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// cleanCounts bounds a map that a collector sent. Which keys stay is the same
// every time.
func cleanCounts(counts map[string]uint64) map[string]uint64 {
	if len(counts) == 0 {
		return nil
	}
	keys := slices.Sorted(maps.Keys(counts))
	cleaned := make(map[string]uint64, min(len(keys), maxCodes))
	for _, k := range keys[:min(len(keys), maxCodes)] {
		word := clean(k, maxWord)
		cleaned[word] = plus(cleaned[word], counts[k])
	}
	return cleaned
}

// cleanHistogram returns h, or nothing for one that has more buckets than there are.
func cleanHistogram(h wire.Histogram) wire.Histogram {
	if len(h.Buckets) > wire.NumBuckets {
		return wire.Histogram{}
	}
	return h
}

func cleanFlags(flags []uint64) []uint64 { return flags[:min(len(flags), wire.NumFlags)] }

// cleanRole returns one of the roles that there are.
func cleanRole(role string) string {
	if role == wire.RoleClient || role == wire.RoleServer {
		return role
	}
	return ""
}

func cleanDirection(direction string) string {
	switch direction {
	case wire.DirectionIn, wire.DirectionOut, wire.DirectionForward:
		return direction
	}
	return ""
}
