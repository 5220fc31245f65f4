package follow

import (
	"fmt"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// told collects what a Watch tells.
type told struct {
	mu      sync.Mutex
	changes []Change
	closed  bool
}

// follow resolves a request and watches it until the test ends.
func (c *cluster) follow(r target.Request) *told {
	c.t.Helper()
	selection, err := r.Selection()
	if err != nil {
		c.t.Fatal(err)
	}
	first, err := selection.ResolveAny(c.t.Context(), c)
	if err != nil {
		c.t.Fatal(err)
	}
	return collect(Watch(c.t.Context(), c, selection, first))
}

func collect(changes <-chan Change) *told {
	out := &told{}
	go func() {
		for change := range changes {
			out.mu.Lock()
			out.changes = append(out.changes, change)
			out.mu.Unlock()
		}
		out.mu.Lock()
		out.closed = true
		out.mu.Unlock()
	}()
	return out
}

// text waits a little and returns what was told since the last time: "+" is
// added, "-" ended, "~" changed, "!" a warning.
func (o *told) text() string {
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	var words []string
	for _, change := range o.changes {
		for _, list := range []struct {
			sign string
			pods []target.Pod
		}{{"+", change.Added}, {"~", change.Changed}, {"-", change.Ended}} {
			for i := range list.pods {
				words = append(words, fmt.Sprintf("%s%s(%s)", list.sign, list.pods[i].String(), list.pods[i].UID))
			}
		}
		for _, node := range change.NodesAdded {
			words = append(words, "+node "+node.Name)
		}
		for _, node := range change.NodesEnded {
			words = append(words, "-node "+node.Name)
		}
		for _, warning := range change.Warnings {
			words = append(words, "! "+warning.Error())
		}
	}
	o.changes = nil
	return strings.Join(words, " ")
}
