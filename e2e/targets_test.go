//go:build linux && !unit

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEveryKindOfTarget captures by every way of naming pods, and looks at
// which pods were captured.
func TestEveryKindOfTarget(t *testing.T) {
	namespace := uniqueName(t)
	template := fmt.Sprintf(`{metadata: {labels: {app: x, kind: KIND}}, spec: {restartPolicy: POLICY, terminationGracePeriodSeconds: 1, containers: [{name: main, image: "%s", args: [serve]}]}}`, trafficImage)
	templateFor := func(kind, policy string) string {
		return strings.NewReplacer("KIND", kind, "POLICY", policy).Replace(template)
	}
	manifest := namespaceYAML(namespace, "e2e: "+namespace) +
		fmt.Sprintf("---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, namespace: %s}\nspec: {selector: {matchLabels: {kind: d}}, template: %s}\n", namespace, templateFor("d", "Always")) +
		fmt.Sprintf("---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: s, namespace: %s}\nspec: {serviceName: s, selector: {matchLabels: {kind: s}}, template: %s}\n", namespace, templateFor("s", "Always")) +
		fmt.Sprintf("---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: ds, namespace: %s}\nspec: {selector: {matchLabels: {kind: ds}}, template: %s}\n", namespace, templateFor("ds", "Always")) +
		fmt.Sprintf("---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: j, namespace: %s}\nspec: {template: %s}\n", namespace, templateFor("j", "Never")) +
		fmt.Sprintf("---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: cj, namespace: %s}\nspec: {schedule: \"0 0 1 1 *\", suspend: true, jobTemplate: {spec: {template: %s}}}\n", namespace, templateFor("cj", "Never")) +
		fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: svc, namespace: %s}\nspec: {selector: {kind: s}, ports: [{port: 80}]}\n", namespace) +
		podYAML(namespace, "lookalike", "n1", "app: x, kind: d", "") + // has the labels, but no owner
		podYAML(namespace, "never-runs", "n1", "app: x", "hostname: never\n  nodeSelector: {absent: \"true\"}")
	apply(t, manifest)
	kubectl(t, "create", "job", "-n", namespace, "by-hand", "--from=cronjob/cj")
	eventually(t, time.Minute, func() error {
		out := kubectl(t, "get", "pods", "-n", namespace, "--field-selector=status.phase=Running", "-o", "name")
		if n := strings.Count(out, "\n"); n < 7 { // d, s-0, ds twice, j, by-hand, lookalike
			return fmt.Errorf("%d pods run:\n%s", n, out)
		}
		return nil
	})
	for name, test := range map[string]struct {
		args []string
		want []string // prefixes of pod names
	}{
		"deployment":          {[]string{"deploy/d"}, []string{"d-"}},
		"statefulset":         {[]string{"sts/s"}, []string{"s-0"}},
		"daemonset":           {[]string{"ds/ds"}, []string{"ds-", "ds-"}},
		"job":                 {[]string{"job/j"}, []string{"j-"}},
		"cronjob":             {[]string{"cronjob/cj"}, []string{"by-hand-"}},
		"service":             {[]string{"svc/svc"}, []string{"s-0"}},
		"several, mixed":      {[]string{"pod/s-0", "deploy/d", "svc/svc"}, []string{"d-", "s-0"}},
		"selector":            {[]string{"-l", "kind in (j,s),app=x"}, []string{"j-", "s-0"}},
		"pod names":           {[]string{"--pod-names", "s-0,lookalike"}, []string{"lookalike", "s-0"}},
		"pod selectors":       {[]string{"--pod-selectors", "kind=d"}, []string{"d-", "lookalike"}},
		"namespace selectors": {[]string{"--namespace-selectors", "e2e=" + namespace, "--pod-selectors", "kind!=ds,kind!=d"}, []string{"by-hand-", "j-", "s-0"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"-n", namespace, "--duration", "300ms", "-o", "json"}, test.args...)
			if name == "namespace selectors" {
				args[1] = "default" // -n does not matter
			}
			r, _ := capture(t, args...)
			r.wantCode(t, 0)
			var got []string
			for _, n := range parseSummary(t, r.stdout).Nodes {
				for _, p := range n.Pods {
					got = append(got, p.Name)
				}
			}
			slices.Sort(got)
			if !slices.EqualFunc(got, test.want, strings.HasPrefix) {
				t.Errorf("captured %v, want %v", got, test.want)
			}
		})
	}
	t.Run("nodes", func(t *testing.T) {
		for _, args := range [][]string{{"--node-names", "n1,n2"}, {"--node-selectors", "kubernetes.io/os=linux"}} {
			r, _ := capture(t, append(args, "--duration", "300ms", "-o", "json")...)
			r.wantCode(t, 0)
			if nodes := parseSummary(t, r.stdout).Nodes; len(nodes) != 2 || len(nodes[0].Interfaces) == 0 {
				t.Errorf("%v: %+v", args, nodes)
			}
		}
	})
	wantNothingLeft(t)
}
