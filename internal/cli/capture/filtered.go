package capture

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// tellFilter says what packets have to match.
func (r *captureRun) tellFilter() {
	if text := r.config.filterText(); text != "" {
		r.narrator.Info("filter: " + oneline.Text(text))
	}
}

// tellFixed says that pods which come later are not captured, where some could come
// and it was not asked for.
func (r *captureRun) tellFixed() {
	if !r.config.stored || r.noFollow {
		return
	}
	if slices.ContainsFunc(r.config.selection.Parts(), func(p target.Part) bool {
		return p.Name == "" && len(p.Names) == 0 || p.Kind != "pod" && p.Kind != "node"
	}) {
		r.narrator.Info("pods and nodes that come later are not captured: the nodes store this capture")
	}
}

// comments describe the capture in its file.
func (r *captureRun) comments() []string {
	all := []string{"captured from " + r.resolved.Searched}
	if text := r.config.filterText(); text != "" {
		all = append(all, "filter: "+text)
	}
	if len(r.config.interfaces) > 0 {
		all = append(all, "interfaces: "+strings.Join(r.config.interfaces, " "))
	}
	return all
}

// checkInterfaces refuses names that no target has an interface of. Only the
// collectors know which there are.
func (r *captureRun) checkInterfaces(started []*nodeRun) error {
	var missing []string
	for _, name := range r.config.interfaces {
		if !slices.ContainsFunc(started, func(n *nodeRun) bool { return n.hasInterface(name) }) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return hint.Wrap(fmt.Errorf("--interfaces: no target has an interface named %s", strings.Join(missing, " or ")),
		"capture without --interfaces: the summary of -o json names those that targets have")
}

func (n *nodeRun) hasInterface(name string) bool {
	for _, i := range n.session.Ready().Interfaces {
		if i.Name == name {
			return true
		}
	}
	return false
}
