package rights

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// Names of the roles.
const (
	CollectorsRole = "kubectl-retina-collectors"
	TargetsRole    = "kubectl-retina-targets"
	APIServerRole  = "kubectl-retina-apiserver"
)

// rbacGroup is where roles are, and what their subjects refer to.
const rbacGroup = "rbac.authorization.k8s.io"

// A Subject is who gets the roles.
type Subject struct {
	Kind      string // "User", "Group" or "ServiceAccount"
	Name      string
	Namespace string // of a ServiceAccount
}

// ParseSubject reads "user/NAME", "group/NAME" or "serviceaccount/NAMESPACE/NAME".
func ParseSubject(text string) (Subject, error) {
	kind, name, _ := strings.Cut(text, "/")
	namespace, account, qualified := strings.Cut(name, "/")
	switch {
	case kind == "user" && name != "":
		return Subject{Kind: "User", Name: name}, nil
	case kind == "group" && name != "":
		return Subject{Kind: "Group", Name: name}, nil
	case (kind == "serviceaccount" || kind == "sa") && qualified && namespace != "" && account != "":
		return Subject{Kind: "ServiceAccount", Name: account, Namespace: namespace}, nil
	}
	return Subject{}, hint.Wrap(fmt.Errorf("%q names nobody", text), "write user/NAME, group/NAME or serviceaccount/NAMESPACE/NAME")
}

// Options say which roles.
type Options struct {
	// Collectors is the namespace where collectors run.
	Collectors string
	// Targets is the namespace of the targets; empty: all, and nodes too.
	Targets string
	// Everything adds what is not needed, but lets commands do and tell more.
	Everything bool
	// Subjects get the roles; without any there are no bindings.
	Subjects []Subject
	// Command is what printed them, for the first line.
	Command string
}

// A role is one Role or ClusterRole.
type role struct {
	name, namespace string // no namespace: a ClusterRole
	rights          []Right
}

func (o Options) roles() []role {
	all := Needed()
	if o.Everything {
		all = All()
	}
	roles := []role{{name: CollectorsRole, namespace: o.Collectors, rights: Of(all, Collectors)}}
	if o.Targets == "" {
		// What is read in one namespace is read in all of them.
		read := slices.Concat(Of(all, Targets), Of(all, Cluster))
		return append(roles, role{name: TargetsRole, rights: read})
	}
	roles = append(roles, role{name: TargetsRole, namespace: o.Targets, rights: Of(all, Targets)})
	if server := Of(all, APIService); len(server) > 0 {
		roles = append(roles, role{name: APIServerRole, namespace: "default", rights: server})
	}
	return roles
}

// Manifest returns the roles as YAML for kubectl apply.
func Manifest(o Options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What a user of kubectl retina needs. Printed by: %s\n", o.Command)
	if len(o.Subjects) == 0 {
		b.WriteString("# No binding is printed: --bind-to user/NAME adds those of a user.\n")
	}
	for _, r := range o.roles() {
		r.write(&b)
		if len(o.Subjects) > 0 {
			r.bind(&b, o.Subjects)
		}
	}
	return b.String()
}

func (r role) kind() string {
	if r.namespace == "" {
		return "ClusterRole"
	}
	return "Role"
}

func (r role) head(b *strings.Builder, kind string) {
	fmt.Fprintf(b, "---\napiVersion: %s/v1\nkind: %s\nmetadata:\n  name: %s\n", rbacGroup, kind, r.name)
	if r.namespace != "" {
		fmt.Fprintf(b, "  namespace: %s\n", r.namespace)
	}
}

// write writes a rule for each use: its comment says what is lost without it.
func (r role) write(b *strings.Builder) {
	r.head(b, r.kind())
	b.WriteString("rules:\n")
	for _, group := range r.rules() {
		first := group[0]
		note := ""
		if !first.Needed {
			note = " (not needed for anything else)"
		}
		fmt.Fprintf(b, "- # %s%s\n", first.Use, note)
		resource := first.Resource
		if first.Subresource != "" {
			resource += "/" + first.Subresource
		}
		fmt.Fprintf(b, "  apiGroups: [%q]\n  resources: [%q]\n  verbs: [", first.Group, resource)
		for i, right := range group {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(b, "%q", right.Verb)
		}
		b.WriteString("]\n")
	}
}

// rules are the rights with the same use and resource, which follow each other.
// A right that an earlier one has given is left out.
func (r role) rules() [][]Right {
	var groups [][]Right
	given := map[string]bool{}
	for _, right := range r.rights {
		if given[right.String()] {
			continue
		}
		given[right.String()] = true
		if n := len(groups); n > 0 && groups[n-1][0].Use == right.Use && groups[n-1][0].Object() == right.Object() {
			groups[n-1] = append(groups[n-1], right)
			continue
		}
		groups = append(groups, []Right{right})
	}
	return groups
}

func (r role) bind(b *strings.Builder, subjects []Subject) {
	r.head(b, r.kind()+"Binding")
	fmt.Fprintf(b, "roleRef:\n  apiGroup: %s\n  kind: %s\n  name: %s\nsubjects:\n", rbacGroup, r.kind(), r.name)
	for _, s := range subjects {
		fmt.Fprintf(b, "- kind: %s\n  name: %q\n", s.Kind, s.Name)
		if s.Namespace != "" {
			fmt.Fprintf(b, "  namespace: %s\n", s.Namespace)
			continue
		}
		fmt.Fprintf(b, "  apiGroup: %s\n", rbacGroup)
	}
}
