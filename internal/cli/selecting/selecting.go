// Package selecting is the flags that name targets, the same for every command
// that works on pods and nodes.
package selecting

import (
	"github.com/spf13/pflag"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// AddTo adds the flags to f; what they are given is in r.
func AddTo(f *pflag.FlagSet, r *target.Request) {
	f.StringVarP(&r.Selector, "selector", "l", "", "pods by label, as in 'app in (a,b),tier!=db'")
	f.BoolVarP(&r.AllNamespaces, "all-namespaces", "A", false, "in all namespaces, where pods are selected by label or not at all")
	f.StringSliceVar(&r.PodNames, "pod-names", nil, "pods by name")
	f.StringVar(&r.PodSelectors, "pod-selectors", "", "pods by label, in the namespaces of --namespace-selectors if that is set")
	f.StringVar(&r.NamespaceSelectors, "namespace-selectors", "", "pods of the namespaces with these labels")
	f.StringSliceVar(&r.NodeNames, "node-names", nil, "nodes by name")
	f.StringVar(&r.NodeSelectors, "node-selectors", "", "nodes by label; every Linux node: kubernetes.io/os=linux")
}

// None reports whether r names no target.
func None(r *target.Request) bool {
	return len(r.Args)+len(r.PodNames)+len(r.NodeNames) == 0 && r.Selector == "" && r.PodSelectors == "" &&
		r.NamespaceSelectors == "" && r.NodeSelectors == ""
}
