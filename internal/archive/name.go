package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Extension ends an archive's file name.
const Extension = ".tar.gz"

const (
	timeLayout = "20060102T150405Z"
	// maxCapture and maxNode are what a name keeps of its parts, so that all of it
	// stays within wire.MaxArchiveName: two dashes and the time take 18 bytes.
	maxCapture = 80
	maxNode    = wire.MaxArchiveName - 18 - maxCapture
)

// Name returns the name of the archive, without Extension, of what a capture has
// captured on a node: CAPTURE-NODE-TIME, the time to the second. It fits into
// wire.StoreSpec.Archive: a character that does not is a dash, and a part that is
// too long ends with a hash of all of it.
func Name(capture, node string, at time.Time) string {
	return prefix(capture) + fit(node, maxNode) + "-" + at.UTC().Format(timeLayout)
}

// ParseName splits the name of an archive, with or without Extension, into its
// prefix, which is CAPTURE-NODE, and its time. Where the capture's name ends and
// the node's begins cannot be told, because both may have dashes: see IsOf. ok
// says whether the name can be that of an archive.
func ParseName(file string) (captureNode string, at time.Time, ok bool) {
	file = strings.TrimSuffix(file, Extension)
	i := strings.LastIndexByte(file, '-')
	if i < 3 || len(file) > wire.MaxArchiveName || fit(file, wire.MaxArchiveName) != file {
		return "", time.Time{}, false
	}
	at, err := time.Parse(timeLayout, file[i+1:])
	if err != nil || !strings.Contains(file[1:i-1], "-") {
		return "", time.Time{}, false
	}
	return file[:i], at, true
}

// Belongs reports whether an archive of this name can be one of the capture's. It
// can as well be one of a capture whose name begins with this one and a dash:
// where that matters, ask IsOf, or the archive's Record.
func Belongs(file, capture string) bool {
	captureNode, _, ok := ParseName(file)
	return ok && strings.HasPrefix(captureNode, prefix(capture))
}

// IsOf reports whether an archive of this name is the one of a capture on a node.
func IsOf(file, capture, node string) bool {
	captureNode, _, ok := ParseName(file)
	return ok && captureNode == prefix(capture)+fit(node, maxNode)
}

// prefix is how the names of a capture's archives begin.
func prefix(capture string) string { return fit(capture, maxCapture) + "-" }

// fit returns name in the characters and at most limit bytes, without changing one
// that has them already. Different names stay different if they are cut.
func fit(name string, limit int) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, name)
	if clean == "" || strings.IndexByte("._-", clean[0]) >= 0 {
		clean = "x" + clean
	}
	if len(clean) <= limit {
		return clean
	}
	sum := sha256.Sum256([]byte(name))
	hash := hex.EncodeToString(sum[:4])
	return clean[:limit-len(hash)-1] + "-" + hash
}
