package target

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// Request is what was typed, flag by flag. Targets are named in one way of
// seven: Args; Selector; PodNames; PodSelectors and NamespaceSelectors; NodeNames
// and NodeSelectors; Everything; AllNodes.
type Request struct {
	// Args are TYPE/NAME..., or TYPE NAME..., as kubectl takes them.
	Args []string
	// Namespace is where names and selectors are looked for: that of -n, else of
	// the kubeconfig context. Empty means "default".
	Namespace     string
	AllNamespaces bool // -A; Namespace is then ignored

	Selector string // -l: pods by label

	PodNames []string // --pod-names: pods by name
	// PodSelectors, of --pod-selectors, selects pods by label, in the namespaces
	// that NamespaceSelectors selects by label if that is set. With
	// NamespaceSelectors alone, all pods of these namespaces are selected.
	PodSelectors, NamespaceSelectors string

	NodeNames []string // --node-names: whole nodes by metadata.name
	// NodeSelectors, of --node-selectors, selects whole Linux nodes by label.
	// With NodeNames it selects among these.
	NodeSelectors string

	// Everything selects all pods of Namespace, or of all namespaces with
	// AllNamespaces. No flag says it: it is what a command without a target means.
	Everything bool
	// AllNodes selects every Linux node, whole.
	AllNodes bool
}

// UsageError is a mistake in a Request: no cluster could make it right.
type UsageError struct{ text string }

func (e *UsageError) Error() string { return e.text }

// usage returns a UsageError that carries a hint.
func usage(advice, format string, args ...any) error {
	return hint.Wrap(&UsageError{fmt.Sprintf(format, args...)}, advice)
}

// Selection is a valid Request, understood. The zero value selects nothing.
type Selection struct{ queries []query }

// String says what is selected, as in [Resolved].Searched.
func (s Selection) String() string {
	words := make([]string, len(s.queries))
	for i, q := range s.queries {
		words[i] = q.String()
	}
	return strings.Join(words, ", ")
}

// Selection checks r and says what it selects, without asking the cluster.
// Every error is a [UsageError] of one line, most with a hint.
func (r Request) Selection() (Selection, error) {
	r = r.trimmed()
	if err := r.validate(); err != nil {
		return Selection{}, err
	}
	var queries []query
	var err error
	switch {
	case len(r.Args) > 0:
		queries, err = r.objects()
	case len(r.PodNames) > 0:
		queries, err = named("pod", r.Namespace, r.PodNames)
	case len(r.NodeNames) > 0 && r.NodeSelectors == "":
		queries, err = named("node", "", r.NodeNames)
	case r.Everything:
		queries = []query{allPods{r.Namespace}}
	case r.AllNodes:
		queries = []query{allNodes{}}
	default:
		var one query
		one, err = r.bySelector()
		queries = []query{one}
	}
	if err != nil {
		return Selection{}, err
	}
	return Selection{queries}, nil
}

// trimmed returns r without the space around values, without empty and
// repeated names, and with the namespace that its queries mean.
func (r Request) trimmed() Request {
	for _, s := range []*string{&r.Selector, &r.PodSelectors, &r.NamespaceSelectors, &r.NodeSelectors} {
		*s = strings.TrimSpace(*s)
	}
	r.PodNames, r.NodeNames = trimmedNames(r.PodNames), trimmedNames(r.NodeNames)
	switch {
	case r.AllNamespaces:
		r.Namespace = metav1.NamespaceAll
	case r.Namespace == "":
		r.Namespace = metav1.NamespaceDefault
	}
	return r
}

func trimmedNames(names []string) []string {
	var out []string
	for _, n := range names {
		if n = strings.TrimSpace(n); n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// validate refuses what no flag's own value could show: ways of naming targets
// that do not go together, or none.
func (r Request) validate() error {
	ways := []struct {
		flags string
		given bool
	}{
		{"TYPE/NAME arguments", len(r.Args) > 0},
		{"-l", r.Selector != ""},
		{"--pod-names", len(r.PodNames) > 0},
		{"--pod-selectors", r.PodSelectors != ""},
		{"--namespace-selectors", r.NamespaceSelectors != "" && r.PodSelectors == ""},
		{"--node-names", len(r.NodeNames) > 0},
		{"--node-selectors", r.NodeSelectors != "" && len(r.NodeNames) == 0},
		{"all pods", r.Everything},
		{"all nodes", r.AllNodes},
	}
	var given []string
	for _, w := range ways {
		if w.given {
			given = append(given, w.flags)
		}
	}
	switch {
	case len(given) == 0:
		return usage("name one, such as deploy/web or -l app=web; every Linux node is --node-selectors kubernetes.io/os=linux",
			"no target given")
	case len(given) > 1:
		return usage("keep one of them, or run the command once for each",
			"%s and %s cannot be combined", given[0], given[1])
	case r.NamespaceSelectors != "" && r.AllNamespaces:
		return usage("drop one of them", "--namespace-selectors and -A cannot be combined")
	case len(r.PodNames) > 0 && r.AllNamespaces:
		return errAllNamespaces()
	}
	if problems := validation.IsDNS1123Label(r.Namespace); r.Namespace != "" && len(problems) > 0 {
		return usage("pass -n NAMESPACE", "%q cannot be the name of a namespace", r.Namespace)
	}
	return nil
}

func errAllNamespaces() error {
	return usage("drop -A and pass -n NAMESPACE, or select with -l",
		"a resource cannot be retrieved by name across all namespaces")
}

// bySelector returns the query for the request's selector flags.
func (r Request) bySelector() (query, error) {
	switch {
	case r.Selector != "":
		s, err := parseSelector("-l", r.Selector)
		return podsMatching{"-l", s, r.Namespace}, err
	case r.NamespaceSelectors != "":
		namespaces, err := parseSelector("--namespace-selectors", r.NamespaceSelectors)
		if err != nil || r.PodSelectors == "" {
			return podsInNamespaces{labels.Everything(), namespaces}, err
		}
		pods, err := parseSelector("--pod-selectors", r.PodSelectors)
		return podsInNamespaces{pods, namespaces}, err
	case r.PodSelectors != "":
		s, err := parseSelector("--pod-selectors", r.PodSelectors)
		return podsMatching{"--pod-selectors", s, r.Namespace}, err
	default:
		for _, name := range r.NodeNames {
			if err := checkName("node", name); err != nil {
				return nil, err
			}
		}
		s, err := parseSelector("--node-selectors", r.NodeSelectors)
		return nodesMatching{s, r.NodeNames}, err
	}
}

// parseSelector parses the value of flag, in the full syntax of label
// selectors. A selector that selects everything is refused: it is never meant.
func parseSelector(flag, value string) (labels.Selector, error) {
	s, err := labels.Parse(value)
	if err == nil && s.Empty() {
		err = errors.New("it is empty")
	}
	if err != nil {
		cause := strings.Join(strings.Fields(err.Error()), " ")
		return nil, usage("write it as for kubectl: app=web, app in (a,b), tier!=db, !canary",
			"%s %q is not a label selector: %s", flag, value, cause)
	}
	return s, nil
}

// named returns a query for each of names.
func named(kindName, namespace string, names []string) ([]query, error) {
	k, _ := kindOf(kindName)
	queries := make([]query, 0, len(names))
	for _, name := range names {
		if err := checkName(k.name, name); err != nil {
			return nil, err
		}
		queries = append(queries, object{k, namespace, name})
	}
	return queries, nil
}

func checkName(kind, name string) error {
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return usage("names are lower-case letters, digits, '-' and '.'", "%q cannot be the name of a %s", name, kind)
	}
	return nil
}
