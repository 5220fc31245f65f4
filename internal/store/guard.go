package store

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// maxText bounds what is taken over from somebody else, in bytes.
const maxText = 300

// redacted stands where a secret was.
const redacted = "[secret]"

// A guard is the last one to see a text that goes to the user. It knows the
// secrets of one destination.
type guard struct{ secrets []*regexp.Regexp }

// newGuard returns a guard of secrets, however they are escaped. Empty ones are
// ignored.
func newGuard(secrets ...string) guard {
	var plain []string
	for _, secret := range secrets {
		plain = append(plain, secret)
		if unescaped, err := url.PathUnescape(secret); err == nil {
			plain = append(plain, unescaped)
		}
	}
	// The longest first: it may contain another one.
	slices.SortFunc(plain, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	var g guard
	for _, secret := range slices.Compact(plain) {
		if secret != "" {
			g.secrets = append(g.secrets, regexp.MustCompile(anySpelling(secret)))
		}
	}
	return g
}

// anySpelling matches secret as it is and as URLs, JSON and XML escape it.
func anySpelling(secret string) string {
	var pattern strings.Builder
	for _, r := range secret {
		if r < unicode.MaxASCII && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			fmt.Fprintf(&pattern, `(?i:\\?%[1]s|%%(?:25)*%02[2]x|\\u%04[2]x|&#x%[2]x;|&#%[2]d;)`, regexp.QuoteMeta(string(r)), r)
		} else {
			pattern.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return pattern.String()
}

var (
	urlQuery     = regexp.MustCompile(`(://[^\s?"'<>]*)\?[^\s"'<>]*`)
	sasSignature = regexp.MustCompile(`(?i)\bsig(=|%3d)[^\s&"'<>]+`)
)

// clean returns text as one line of bounded length, without secrets and without
// the queries of URLs.
func (g guard) clean(text string) string {
	for _, secret := range g.secrets {
		text = secret.ReplaceAllLiteralString(text, redacted)
	}
	text = urlQuery.ReplaceAllString(text, "$1")
	text = sasSignature.ReplaceAllString(text, "sig="+redacted)
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "..."
	}
	return text
}
