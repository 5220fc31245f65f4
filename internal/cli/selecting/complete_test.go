package selecting

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

func TestCompleteTargets(t *testing.T) {
	list := func(r target.Resource) []string {
		return map[string][]string{"pods": {"db-0", "web-1", "web-2"}, "deployments": {"web"}, "nodes": {"n1", "n2"}}[r.Resource]
	}
	const more, done = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace, cobra.ShellCompDirectiveNoFileComp
	for _, test := range []struct {
		args, word string
		want       string
		directive  cobra.ShellCompDirective
	}{
		{"", "", "pod/ deploy/ sts/ ds/ rs/ replicationcontroller/ job/ cronjob/ svc/ node/", more},
		{"", "d", "deploy/ ds/", more},
		{"", "pod", "pod/", more},
		{"", "x", "", more},
		{"", "pod/", "pod/db-0 pod/web-1 pod/web-2", done},
		{"", "pods/web", "pods/web-1 pods/web-2", done},
		{"pod/web-1", "pod/web", "pod/web-2", done},
		{"pod/web-1", "de", "deploy/", more},
		{"", "deployment.apps/", "deployment.apps/web", done},
		{"", "secret/", "", done},
		{"node", "", "n1 n2", done},
		{"node n1", "n", "n2", done},
		{"pods", "web-", "web-1 web-2", done},
	} {
		got, directive := completeTargets(strings.Fields(test.args), test.word, list)
		if !slices.Equal(got, strings.Fields(test.want)) || directive != test.directive {
			t.Errorf("%q %q: %q (%d), want %q (%d)", test.args, test.word, got, directive, test.want, test.directive)
		}
	}
}

func TestCompleteList(t *testing.T) {
	names := []string{"n1", "n2", "m1"}
	for word, want := range map[string]string{"": "n1 n2 m1", "n": "n1 n2", "n1,": "n1,n2 n1,m1", "n1,n": "n1,n2", "n1,m1,n2": "n1,m1,n2", "x": ""} {
		if got := completeList(word, names); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
