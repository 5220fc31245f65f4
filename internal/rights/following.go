package rights

import "slices"

// Follow are the rights to keep up with a target of this kind, as in "deployment".
// Without them pods that come later are noticed late, or not at all.
func Follow(kind string) []Right {
	resources := map[string][]string{
		"pod":         {"pods"},
		"deployment":  {"pods", "deployments.apps", "replicasets.apps"},
		"statefulset": {"pods", "statefulsets.apps"}, "daemonset": {"pods", "daemonsets.apps"},
		"replicaset": {"pods", "replicasets.apps"}, "replicationcontroller": {"pods", "replicationcontrollers"},
		"job": {"pods", "jobs.batch"}, "cronjob": {"pods", "cronjobs.batch", "jobs.batch"},
		"service": {"pods", "services"}, "namespace": {"pods", "namespaces"}, "node": {"nodes"},
	}[kind]
	return slices.DeleteFunc(slices.Concat(reading(), naming()), func(r Right) bool {
		return r.Use != follow && r.Use != followNodes || !slices.Contains(resources, r.Object())
	})
}

// ForFilterWord are the rights that a word of a filter takes which names an object of
// this kind: "pod", "namespace", "service" or "node". Watching is not needed: without it
// other addresses are noticed a few seconds later.
func ForFilterWord(kind string) []Right {
	const use = "words in filters"
	var all []Right
	add := func(scope Scope, resource string, verbs ...string) {
		all = append(all, rule(scope, true, use, nil, resource, verbs...)...)
		all = append(all, rule(scope, false, follow, nil, resource, "watch")...)
	}
	switch kind {
	case "pod":
		add(Targets, "pods", "get", "list")
	case "namespace":
		add(Targets, "pods", "list")
	case "service":
		add(Targets, "services", "get", "list")
		add(Targets, "endpointslices.discovery.k8s.io", "list")
	case "node":
		add(Cluster, "nodes", "get", "list")
	}
	return all
}
