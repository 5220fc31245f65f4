package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/rights"
)

// Rights judges the rights of the user: needed and optional ones, in the
// namespace of the collectors and, "" for all, of the targets. advice is how to
// get them.
func Rights(missing []rights.Right, collectors, targets, advice string) []Check {
	in := "in namespace " + targets
	if targets == "" {
		in = "in all namespaces"
	}
	needed := func(scope rights.Scope) []rights.Right { return rights.Of(rights.Needed(), scope) }
	lacking := func(scopes ...rights.Scope) []rights.Right {
		return slices.DeleteFunc(slices.Clone(missing), func(r rights.Right) bool { return !r.Needed || !slices.Contains(scopes, r.Scope) })
	}
	run := Check{Name: CheckRights, Status: OK, Detail: fmt.Sprintf("collectors in namespace %s: all %d", collectors, len(needed(rights.Collectors)))}
	if lack := lacking(rights.Collectors); len(lack) > 0 {
		run.Status, run.Hint = Fail, advice
		run.Detail = fmt.Sprintf("collectors cannot run in namespace %s: missing %s", collectors, rights.Names(lack))
	}
	find := Check{Name: CheckTargets, Status: OK, Detail: "targets " + in + ", nodes and namespaces: all"}
	if lack := lacking(rights.Targets, rights.Cluster); len(lack) > 0 {
		find.Status, find.Hint = Warn, advice
		find.Detail = fmt.Sprintf("missing %s: %s", in, uses(lack))
		if slices.ContainsFunc(lack, func(r rights.Right) bool { return r.Resource == "pods" }) {
			find.Status = Fail
		}
	}
	extras := Check{Name: CheckExtras, Status: OK, Detail: "all that lets commands do and tell more"}
	optional := slices.DeleteFunc(slices.Clone(missing), func(r rights.Right) bool { return r.Needed })
	if len(optional) > 0 {
		extras.Status, extras.Detail = Warn, "missing, and not needed for anything else: "+uses(optional)
		extras.Hint = strings.Replace(advice, "--print-rbac", "--print-rbac=all", 1)
	}
	return []Check{run, find, extras}
}

// uses are rights with what they are for, by use.
func uses(all []rights.Right) string {
	var order []string
	of := map[string][]string{}
	for _, r := range all {
		if of[r.Use] == nil {
			order = append(order, r.Use)
		}
		if !slices.Contains(of[r.Use], r.String()) {
			of[r.Use] = append(of[r.Use], r.String())
		}
	}
	words := make([]string, len(order))
	for i, use := range order {
		words[i] = fmt.Sprintf("%s (%s)", strings.Join(of[use], ", "), use)
	}
	return strings.Join(words, "; ")
}
