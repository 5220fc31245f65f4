//go:build !unit

package exposition

import (
	"os/exec"
	"strings"
	"testing"
)

// promtool has nothing to say about what is served.
func TestPromtool(t *testing.T) {
	for _, context := range []string{Local, Remote} {
		check := exec.Command("promtool", "check", "metrics")
		check.Stdin = strings.NewReader(text(t, Options{Context: context}))
		if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", context, err, out)
		}
	}
}
