package target

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// podsMatching is a query for the pods with certain labels.
type podsMatching struct {
	flag      string // that asked for it
	selector  labels.Selector
	namespace string // "" is all of them
}

func (q podsMatching) String() string {
	if q.namespace == "" {
		return fmt.Sprintf("%s %s in all namespaces", q.flag, q.selector)
	}
	return fmt.Sprintf("%s %s in namespace %s", q.flag, q.selector, q.namespace)
}

func (q podsMatching) find(ctx context.Context, client kubernetes.Interface) (found, error) {
	pods, err := listPods(ctx, client, q.namespace, q.selector)
	if err == nil && len(pods) == 0 && q.namespace != "" {
		err = missingNamespace(ctx, client, q.namespace)
	}
	return found{pods: pods}, err
}

func (q podsMatching) nothing(f found) error {
	if q.namespace == "" {
		return noPods(q, f, "-A")
	}
	return noPods(q, f, "-n "+q.namespace)
}

// noPods is the error for a query that selects pods by their labels. The flag
// lets kubectl show the labels that there are.
func noPods(q query, f found, flag string) error {
	switch len(f.pods) {
	case 0:
		return hint.Wrap(fmt.Errorf("no pod matches %s", q), "see what there is with: kubectl get pods --show-labels "+flag)
	case 1:
		return advise(fmt.Errorf("1 pod matches %s, %s", q, none(f)), describe(f))
	}
	return advise(fmt.Errorf("%d pods match %s, %s", len(f.pods), q, none(f)), describe(f))
}

// noNamespace is why podsInNamespaces finds nothing where it has not looked.
const noNamespace = "selects no namespace"

// podsInNamespaces is a query for the pods with certain labels in the
// namespaces with certain labels.
type podsInNamespaces struct {
	pods, namespaces labels.Selector
}

func (q podsInNamespaces) String() string {
	namespaces := "--namespace-selectors " + q.namespaces.String()
	if q.pods.Empty() {
		return namespaces
	}
	return "--pod-selectors " + q.pods.String() + " and " + namespaces
}

func (q podsInNamespaces) find(ctx context.Context, client kubernetes.Interface) (found, error) {
	namespaces, err := Collect(ctx, metav1.ListOptions{LabelSelector: q.namespaces.String()},
		client.CoreV1().Namespaces().List,
		func(page *corev1.NamespaceList) []string {
			names := make([]string, len(page.Items))
			for i := range page.Items {
				names[i] = page.Items[i].Name
			}
			return names
		})
	if err != nil {
		return found{}, Asking(err, "list", "namespaces", "")
	}
	if len(namespaces) == 0 {
		return found{why: noNamespace}, nil
	}
	lists := make([][]candidate, len(namespaces))
	err = first(parallel(len(namespaces), func(i int) (err error) {
		lists[i], err = listPods(ctx, client, namespaces[i], q.pods)
		return err
	}))
	f := found{}
	for _, pods := range lists {
		f.pods = append(f.pods, pods...)
	}
	return f, err
}

func (q podsInNamespaces) nothing(f found) error {
	if f.why == noNamespace {
		return hint.Wrap(fmt.Errorf("no namespace matches --namespace-selectors %s", q.namespaces),
			"see what there is with: kubectl get namespaces --show-labels")
	}
	return noPods(q, f, "-A")
}

// nodesMatching is a query for whole nodes with certain labels, among the named
// ones if there are names.
type nodesMatching struct {
	selector labels.Selector
	names    []string
}

func (q nodesMatching) String() string {
	flag := "--node-selectors " + q.selector.String()
	if len(q.names) > 0 {
		return "--node-names " + strings.Join(q.names, ",") + " and " + flag
	}
	return flag
}

func (q nodesMatching) find(ctx context.Context, client kubernetes.Interface) (found, error) {
	if len(q.names) > 0 {
		return q.findNamed(ctx, client)
	}
	return listNodes(ctx, client, q.selector)
}

// listNodes returns the Linux nodes that match selector, and skips the others.
func listNodes(ctx context.Context, client kubernetes.Interface, selector labels.Selector) (found, error) {
	nodes, err := Collect(ctx, metav1.ListOptions{LabelSelector: selector.String()},
		client.CoreV1().Nodes().List,
		func(page *corev1.NodeList) []*corev1.Node {
			nodes := make([]*corev1.Node, len(page.Items))
			for i, node := range page.Items {
				nodes[i] = trimmed(&node) // a copy: a pointer into the page would keep all of it
			}
			return nodes
		})
	var f found
	for _, node := range nodes {
		if runsLinux(node) {
			f.nodes = append(f.nodes, node)
		} else {
			f.skipped = append(f.skipped, Skipped{"node " + node.Name, "runs " + operatingSystem(node)})
		}
	}
	return f, Asking(err, "list", "nodes", "")
}

// findNamed gets the named nodes and leaves out those without the labels.
func (q nodesMatching) findNamed(ctx context.Context, client kubernetes.Interface) (found, error) {
	k, _ := kindOf("node")
	results := make([]found, len(q.names))
	err := first(parallel(len(q.names), func(i int) (err error) {
		results[i], err = object{kind: k, name: q.names[i]}.find(ctx, client)
		return err
	}))
	var f found
	for _, r := range results {
		for _, node := range r.nodes {
			if q.selector.Matches(labels.Set(node.Labels)) {
				f.nodes = append(f.nodes, node)
			} else {
				f.skipped = append(f.skipped, Skipped{"node " + node.Name, "does not match " + q.selector.String()})
			}
		}
	}
	return f, err
}

func (q nodesMatching) nothing(f found) error {
	if len(f.skipped) > 0 && len(q.names) == 0 {
		return fmt.Errorf("no Linux node matches %s: %s %s", q, f.skipped[0].Target, f.skipped[0].Reason)
	}
	return hint.Wrap(fmt.Errorf("no node matches %s", q), "see what there is with: kubectl get nodes --show-labels")
}

// trimmed cuts off the parts of node that are large and of no use here.
func trimmed(node *corev1.Node) *corev1.Node {
	node.Status.Images = nil
	node.ManagedFields = nil
	return node
}

func operatingSystem(node *corev1.Node) string {
	if os := node.Status.NodeInfo.OperatingSystem; os != "" {
		return strings.ToLower(os)
	}
	return node.Labels[corev1.LabelOSStable]
}

// runsLinux tells what a node's kubelet has said; one that has said nothing gets
// the benefit of the doubt.
func runsLinux(node *corev1.Node) bool {
	os := operatingSystem(node)
	return os == "" || os == string(corev1.Linux)
}
