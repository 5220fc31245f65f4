package rights_test

import (
	"slices"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/rights"
)

func TestFollowing(t *testing.T) {
	all := map[string]bool{}
	for _, r := range rights.All() {
		all[r.String()] = true
	}
	for _, test := range []struct {
		got  []rights.Right
		want string
	}{
		{rights.Follow("pod"), "watch pods"},
		{rights.Follow("deployment"), "watch pods, list deployments.apps, watch deployments.apps, watch replicasets.apps"},
		{rights.Follow("namespace"), "watch pods, get namespaces, watch namespaces"},
		{rights.Follow("node"), "watch nodes"},
		{rights.ForFilterWord("service"), "get services, list services, watch services, list endpointslices.discovery.k8s.io, watch endpointslices.discovery.k8s.io"},
		{rights.ForFilterWord("node"), "get nodes, list nodes, watch nodes"},
		{rights.ForFilterWord("namespace"), "list pods, watch pods"},
	} {
		if got := rights.Names(test.got); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
		// What is asked for is in the roles that are printed.
		if i := slices.IndexFunc(test.got, func(r rights.Right) bool { return !all[r.String()] }); i >= 0 {
			t.Errorf("%s is in no role", test.got[i])
		}
	}
}
