package retina

import (
	"strings"
	"testing"
)

func TestParseIsStrict(t *testing.T) {
	for text, want := range map[string]string{
		"plugins: [{name: x, sumnary: y}]": "sumnary",
		"plugins: {}":                      "plugins",
		"plugins: []\nplugins: []":         "plugins",
		"{":                                "yaml",
	} {
		if _, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}
