package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/rights"
)

// Rights judges the rights of the user: needed and optional ones, in the
// namespace of the collectors and, "" for all, of the targets. Those of the whole
// cluster count only for targets in all namespaces: the roles for one namespace
// do not give them. advice is how to get them.
func Rights(found rights.Answer, collectors, targets, advice string) []Check {
	in, good := "in namespace "+targets, "targets in namespace "+targets+": all"
	if targets == "" {
		in, good = "in all namespaces", "targets in all namespaces, nodes and namespaces: all"
	}
	of := func(set []rights.Right, needed bool, scopes ...rights.Scope) []rights.Right {
		return slices.DeleteFunc(slices.Clone(set), func(r rights.Right) bool {
			return r.Needed != needed || !slices.Contains(scopes, r.Scope) || targets != "" && r.Scope == rights.Cluster
		})
	}
	judge := func(name, good string, needed bool, scopes ...rights.Scope) (Check, []rights.Right) {
		c := Check{Name: name, Status: OK, Detail: good}
		lack, unknown := of(found.Missing, needed, scopes...), of(found.Unknown, needed, scopes...)
		if len(lack) == 0 && len(unknown) > 0 {
			c.Status, c.Hint = Unknown, hint.Of(found.Err)
			c.Detail = fmt.Sprintf("the API server does not say whether you may %s: %v", first(unknown), found.Err)
		}
		return c, lack
	}
	needed := rights.Of(rights.Needed(), rights.Collectors)
	run, lack := judge(CheckRights, fmt.Sprintf("collectors in namespace %s: all %d", collectors, len(needed)), true, rights.Collectors)
	if len(lack) > 0 {
		run.Status, run.Hint = Fail, advice
		run.Detail = fmt.Sprintf("collectors cannot run in namespace %s: missing %s", collectors, rights.Names(lack))
	}
	find, lack := judge(CheckTargets, good, true, rights.Targets, rights.Cluster)
	if len(lack) > 0 {
		find.Status, find.Hint = Warn, advice
		find.Detail = fmt.Sprintf("missing %s: %s", in, uses(lack))
		if slices.ContainsFunc(lack, func(r rights.Right) bool { return r.Resource == "pods" }) {
			find.Status = Fail
		}
	}
	extras, lack := judge(CheckExtras, "all that lets commands do and tell more", false,
		rights.Collectors, rights.Targets, rights.APIService, rights.Cluster)
	if len(lack) > 0 {
		extras.Status, extras.Detail = Warn, "missing, and not needed for anything else: "+uses(lack)
		extras.Hint = strings.Replace(advice, "--print-rbac", "--print-rbac=all", 1)
	}
	return []Check{run, find, extras}
}

// maxUnknown is how many rights of which nothing is known are named.
const maxUnknown = 3

// first are the first of rights in words.
func first(all []rights.Right) string {
	if len(all) <= maxUnknown {
		return rights.Names(all)
	}
	return fmt.Sprintf("%s and %d more", rights.Names(all[:maxUnknown]), len(all)-maxUnknown)
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
