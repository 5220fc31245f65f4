//go:build linux

package capture

import (
	"os"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

func TestPacketsAreNotWrittenToATerminal(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("this test needs a pseudo-terminal: %v", err)
	}
	defer terminal.Close()
	o := options(t, "pod/x", "--write", "-")
	o.streams.Out = terminal
	if _, err := o.complete(); exit.Code(err) != exit.Usage || !strings.Contains(hint.Of(err), "tshark -r -") {
		t.Errorf("error %v (code %d), hint %q", err, exit.Code(err), hint.Of(err))
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	o.streams.Out = null
	if _, err := o.complete(); err != nil {
		t.Error(err)
	}
}
