package target

import (
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// A kind is a type of object that can be named as a target.
type kind struct {
	name     string // as messages say it
	resource string // as the API says it
	group    string // API group; "" is the core group
	short    string // kubectl's abbreviation, if any
}

func (k kind) namespaced() bool { return k.name != "node" }

// qualified returns the resource with its group, as kubectl and RBAC write it.
func (k kind) qualified() string {
	if k.group == "" {
		return k.resource
	}
	return k.resource + "." + k.group
}

func kinds() []kind {
	return []kind{
		{"pod", "pods", "", "po"},
		{"deployment", "deployments", "apps", "deploy"},
		{"statefulset", "statefulsets", "apps", "sts"},
		{"daemonset", "daemonsets", "apps", "ds"},
		{"replicaset", "replicasets", "apps", "rs"},
		{"replicationcontroller", "replicationcontrollers", "", "rc"},
		{"job", "jobs", "batch", ""},
		{"cronjob", "cronjobs", "batch", "cj"},
		{"service", "services", "", "svc"},
		{"node", "nodes", "", "no"},
	}
}

// kindOf returns the kind that word means: its name, resource or abbreviation,
// alone or as kubectl's RESOURCE.GROUP or RESOURCE.VERSION.GROUP, in any case.
func kindOf(word string) (kind, bool) {
	resource, group, qualified := strings.Cut(strings.ToLower(word), ".")
	group = strings.TrimPrefix(group, "v1.")
	if group == "v1" {
		group = ""
	}
	for _, k := range kinds() {
		if qualified && group != k.group {
			continue
		}
		if resource == k.name || resource == k.resource || resource == k.short && k.short != "" {
			return k, true
		}
	}
	return kind{}, false
}

// parseKind is kindOf with an error that helps.
func parseKind(word string) (kind, error) {
	if k, ok := kindOf(word); ok {
		return k, nil
	}
	var names, words []string
	for _, k := range kinds() {
		names = append(names, k.name)
		words = append(words, k.name)
		if len(k.short) > 2 { // any two letters are near
			words = append(words, k.short)
		}
	}
	advice := didYouMean(near(strings.ToLower(word), words))
	if advice == "" {
		advice = "use one of " + strings.Join(names, ", ")
	}
	return kind{}, usage(advice, "%q is not a type of target", word)
}

// objects returns the queries for the request's arguments.
func (r Request) objects() ([]query, error) {
	pairs, err := splitArgs(r.Args)
	if err != nil {
		return nil, err
	}
	var queries []query
	for _, pair := range pairs {
		k, err := parseKind(pair[0])
		if err != nil {
			return nil, err
		}
		if err := checkName(k.name, pair[1]); err != nil {
			return nil, err
		}
		o := object{kind: k, name: pair[1]}
		if k.namespaced() {
			if r.AllNamespaces {
				return nil, errAllNamespaces()
			}
			o.namespace = r.Namespace
		}
		if !slices.Contains(queries, query(o)) {
			queries = append(queries, o)
		}
	}
	return queries, nil
}

// splitArgs returns the (type, name) pairs of args, by kubectl's grammar:
// TYPE/NAME..., or TYPE[,TYPE...] NAME....
func splitArgs(args []string) ([][2]string, error) {
	var pairs [][2]string
	if !strings.Contains(strings.Join(args, " "), "/") {
		if len(args) == 1 {
			return nil, errNoName(args[0])
		}
		for _, kind := range strings.Split(args[0], ",") {
			for _, name := range args[1:] {
				pairs = append(pairs, [2]string{kind, name})
			}
		}
		return pairs, nil
	}
	for _, arg := range args {
		kind, name, slash := strings.Cut(arg, "/")
		if !slash {
			return nil, usage("write every target as TYPE/NAME, such as pod/web-1", "%q is not TYPE/NAME", arg)
		}
		if kind == "" || name == "" || strings.Contains(name, "/") {
			return nil, usage("write it with one slash, such as pod/web-1", "%q is not TYPE/NAME", arg)
		}
		pairs = append(pairs, [2]string{kind, name})
	}
	return pairs, nil
}

// errNoName is the error for a single argument without a slash: a type without
// a name, or a name without a type.
func errNoName(arg string) error {
	if k, ok := kindOf(arg); ok {
		return usage("write "+k.name+"/NAME, or select pods with -l or nodes with --node-selectors",
			"%q says no name", arg)
	}
	err := usage("write TYPE/NAME, such as deploy/web", "%q is not TYPE/NAME", arg)
	if checkName("pod", arg) == nil {
		err = hint.Wrap(err, "did you mean pod/"+arg+" or deploy/"+arg+"?")
	}
	return err
}
