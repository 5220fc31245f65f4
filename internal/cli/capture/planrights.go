package capture

import (
	"context"
	"slices"

	"github.com/kubectl-retina/kubectl-retina/internal/rights"
)

// followRights are those to keep up with the targets and with what the filter names,
// but for those that are in the plan already.
func (r *captureRun) followRights(ctx context.Context, planned []PlanRight) []PlanRight {
	var all []PlanRight
	ask := func(namespace string, list []rights.Right) {
		missing := rights.Missing(ctx, r.cluster.Client, namespace, list)
		for _, right := range list {
			one := PlanRight{Right: right.String(), Namespace: namespace, Granted: !slices.ContainsFunc(missing, func(m rights.Right) bool { return m.String() == right.String() })}
			if !right.Needed {
				one.For = right.Use
			}
			same := func(p PlanRight) bool { return p.Right == one.Right && p.Namespace == one.Namespace }
			if !slices.ContainsFunc(planned, same) && !slices.ContainsFunc(all, same) {
				all = append(all, one)
			}
		}
	}
	split := func(namespace string, list []rights.Right) {
		ask(namespace, rights.Of(list, rights.Targets))
		ask("", rights.Of(list, rights.Cluster))
	}
	for _, o := range r.filterObjects() {
		namespace := o.Namespace
		if o.Kind == "namespace" {
			namespace = o.Name
		}
		split(namespace, rights.ForFilterWord(o.Kind))
	}
	if r.following() {
		for _, part := range r.config.selection.Parts() {
			split(part.Namespace, rights.Follow(part.Kind))
		}
	}
	return all
}
