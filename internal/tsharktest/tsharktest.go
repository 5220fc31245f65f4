// Package tsharktest lets tests have the stock programs of the field judge what we
// have written: those of Wireshark, and tcpdump.
package tsharktest

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// Run runs one of these programs and returns its standard output. It fails the
// test when the program fails, or has anything to say on standard error but that
// it dislikes root and which file it reads.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s (Debian packages tshark, wireshark-common and tcpdump): %v\n%s", name, err, stderr.String())
	}
	for line := range strings.Lines(stderr.String()) {
		if !strings.HasPrefix(line, "Running as user") && !strings.HasPrefix(line, "reading from file") {
			t.Errorf("%s warns: %s", name, line)
		}
	}
	return stdout.String()
}
