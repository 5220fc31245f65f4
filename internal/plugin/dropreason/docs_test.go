//go:build linux && !unit

package dropreason

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
)

// TestReasonsInTheGuideExist compares the reasons of the guide's table with the running
// kernel's, and Cilium's with ours.
func TestReasonsInTheGuideExist(t *testing.T) {
	page, err := os.ReadFile("../../../docs/guide/dropped.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the page is not here: a virtual machine of make test-kernels has the programs only")
	}
	vethtest.Must(t, err)
	r, err := readReasons(allArguments)
	vethtest.Must(t, err)
	if r.arguments < 3 {
		t.Skip("this kernel tells no reasons")
	}
	known := map[string]bool{"CILIUM_": true} // what they begin with
	for _, name := range r.names {
		known[name] = true
	}
	for number := ciliumFirstDrop; number <= 255; number++ {
		known[ciliumReason(uint8(number))] = true
	}
	found := 0
	for _, cell := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(string(page), -1) {
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell[1], -1) {
			found++
			if !known[name[1]] {
				t.Errorf("docs/guide/dropped.md: there is no reason %s", name[1])
			}
		}
	}
	if found < 8 {
		t.Errorf("%d reasons were found in docs/guide/dropped.md", found)
	}
}
