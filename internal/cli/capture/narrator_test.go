package capture

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
)

// However early the capture ends, its beginning is told first and once.
func TestBeginningComesBeforeTheEnd(t *testing.T) {
	var out bytes.Buffer
	n := newNarrator(&out, false)
	stop := n.capturing(2*time.Second, func() capture.Totals { return capture.Totals{Packets: 7} })
	stop()
	n.began(2 * time.Second)
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 3 || lines[0] != "capturing 2s" || !strings.HasPrefix(lines[1], "capturing 2s … 7 packets") {
		t.Errorf("lines %q", lines)
	}
}
