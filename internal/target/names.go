package target

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
)

// maxLookups bounds how many namespaces or nodes are looked up one by one. Of
// more than that, one list of everything is read and the rest thrown away.
const maxLookups = 16

// NameRecord says what an address is called.
type NameRecord struct {
	Addr netip.Addr
	// Names are unique and sorted; at least one. A pod is "web-7c9d.shop", a
	// service "web.shop.svc", a node its name.
	Names []string
}

// Names names the addresses that are likely in a capture of r: of all pods in
// the namespaces of its pods and on its whole nodes; of the services in these
// namespaces and in kube-system and default, or everywhere for whole nodes; and
// of its nodes. Addresses of nodes are never given the name of a pod that uses
// the node's network.
//
// Naming is a courtesy: what cannot be asked is left out, and the errors are
// warnings, at most one each for pods, services and nodes. The pods of r are
// named even then. The records are sorted by address.
func Names(ctx context.Context, client kubernetes.Interface, r *Resolved) ([]NameRecord, []error) {
	b := newBook(r)
	kinds := []func(context.Context, kubernetes.Interface) ([]addrName, []error){b.pods, b.services, b.nodes}
	found := make([][]addrName, len(kinds))
	warnings := parallel(len(kinds), func(i int) error {
		var errs []error
		found[i], errs = kinds[i](ctx, client)
		return first(errs)
	})
	records := toRecords(slices.Concat(append(found, b.known())...))
	return records, slices.DeleteFunc(warnings, func(err error) bool { return err == nil })
}

type addrName struct {
	addr netip.Addr
	name string
}

func toRecords(all []addrName) []NameRecord {
	byAddr := make(map[netip.Addr][]string, len(all))
	for _, n := range all {
		if names := byAddr[n.addr]; !slices.Contains(names, n.name) {
			byAddr[n.addr] = append(names, n.name)
		}
	}
	records := make([]NameRecord, 0, len(byAddr))
	for addr, names := range byAddr {
		slices.Sort(names)
		records = append(records, NameRecord{addr, names})
	}
	slices.SortFunc(records, func(a, b NameRecord) int { return a.Addr.Compare(b.Addr) })
	return records
}

// A book knows what is to be named.
type book struct {
	resolved   *Resolved
	namespaces map[string]bool         // of captured pods
	whole      map[string]bool         // nodes that are targets
	involved   map[string]*corev1.Node // all nodes; nil if not known
}

func newBook(r *Resolved) book {
	b := book{r, make(map[string]bool), make(map[string]bool), make(map[string]*corev1.Node)}
	for i := range r.Nodes {
		node := &r.Nodes[i]
		b.involved[node.Name] = node.Object
		if node.Whole {
			b.whole[node.Name] = true
		}
		for j := range node.Pods {
			b.namespaces[node.Pods[j].Namespace] = true
		}
	}
	return b
}

// known names what needs no request: the captured pods, and nodes that are
// there.
func (b book) known() []addrName {
	var out []addrName
	for i := range b.resolved.Nodes {
		node := &b.resolved.Nodes[i]
		for j := range node.Pods {
			out = append(out, podNames(&node.Pods[j])...)
		}
		if node.Object != nil {
			out = append(out, nodeNames(node.Object)...)
		}
	}
	return out
}

// podNames names a pod's addresses; those of a pod on its node's network are
// the node's.
func podNames(p *Pod) []addrName {
	out := make([]addrName, 0, len(p.IPs))
	for _, ip := range p.IPs {
		name := p.Name + "." + p.Namespace
		if p.HostNetwork {
			name = p.Node
		}
		out = append(out, addrName{ip, name})
	}
	return out
}

func nodeNames(node *corev1.Node) []addrName {
	var out []addrName
	for _, a := range node.Status.Addresses {
		if a.Type != corev1.NodeInternalIP && a.Type != corev1.NodeExternalIP {
			continue
		}
		if addr, ok := ParseAddr(a.Address); ok {
			out = append(out, addrName{addr, node.Name})
		}
	}
	return out
}

// pods lists the pods that share a namespace with a captured pod, or a node
// that is captured whole. They tell their nodes' addresses too.
func (b book) pods(ctx context.Context, client kubernetes.Interface) ([]addrName, []error) {
	type scope struct{ namespace, node string }
	var scopes []scope
	for _, ns := range slices.Sorted(maps.Keys(b.namespaces)) {
		scopes = append(scopes, scope{namespace: ns})
	}
	for _, node := range slices.Sorted(maps.Keys(b.whole)) {
		scopes = append(scopes, scope{node: node})
	}
	if len(scopes) > maxLookups {
		scopes = []scope{{}}
	}
	convert := func(page *corev1.PodList) []addrName {
		var out []addrName
		for i := range page.Items {
			if p := &page.Items[i]; b.namespaces[p.Namespace] || b.whole[p.Spec.NodeName] {
				out = append(out, livePodNames(p)...)
			}
		}
		return out
	}
	return gather(len(scopes), func(i int) ([]addrName, error) {
		var opts metav1.ListOptions
		if node := scopes[i].node; node != "" {
			opts.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", node).String()
		}
		names, err := Collect(ctx, opts, client.CoreV1().Pods(scopes[i].namespace).List, convert)
		return names, Asking(err, "list", "pods", scopes[i].namespace)
	})
}

// livePodNames names the addresses in a pod's status. A pod that has ended keeps
// its address there although another may have it by now.
func livePodNames(pod *corev1.Pod) []addrName {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	p := Pod{Namespace: pod.Namespace, Name: pod.Name, HostNetwork: pod.Spec.HostNetwork, Node: shared(pod.Spec.NodeName), IPs: podIPs(pod)}
	out := podNames(&p)
	for _, host := range pod.Status.HostIPs {
		if addr, ok := ParseAddr(host.IP); ok && p.Node != "" {
			out = append(out, addrName{addr, p.Node})
		}
	}
	return out
}

// services lists the services that captured pods are likely to call.
func (b book) services(ctx context.Context, client kubernetes.Interface) ([]addrName, []error) {
	wanted := maps.Clone(b.namespaces)
	wanted[metav1.NamespaceSystem], wanted[metav1.NamespaceDefault] = true, true
	namespaces := slices.Sorted(maps.Keys(wanted))
	if len(namespaces) > maxLookups || len(b.whole) > 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	return gather(len(namespaces), func(i int) ([]addrName, error) {
		names, err := Collect(ctx, metav1.ListOptions{}, client.CoreV1().Services(namespaces[i]).List, serviceNames)
		return names, Asking(err, "list", "services", namespaces[i])
	})
}

func serviceNames(page *corev1.ServiceList) []addrName {
	var out []addrName
	for i := range page.Items {
		s := &page.Items[i]
		for _, ip := range append(s.Spec.ClusterIPs, s.Spec.ClusterIP) { // "None" is not an address
			if addr, ok := ParseAddr(ip); ok {
				out = append(out, addrName{addr, s.Name + "." + s.Namespace + ".svc"})
			}
		}
	}
	return out
}

// nodes asks for the nodes that are involved and not there yet.
func (b book) nodes(ctx context.Context, client kubernetes.Interface) ([]addrName, []error) {
	var unknown []string
	for name, object := range b.involved {
		if object == nil {
			unknown = append(unknown, name)
		}
	}
	slices.SortFunc(unknown, cmp.Compare)
	if len(unknown) > maxLookups {
		return gather(1, func(int) ([]addrName, error) {
			names, err := Collect(ctx, metav1.ListOptions{}, client.CoreV1().Nodes().List, b.involvedNames)
			return names, Asking(err, "list", "nodes", "")
		})
	}
	return gather(len(unknown), func(i int) ([]addrName, error) {
		node, err := client.CoreV1().Nodes().Get(ctx, unknown[i], metav1.GetOptions{})
		if err != nil {
			return nil, Asking(err, "get", "nodes", "")
		}
		return nodeNames(node), nil
	})
}

func (b book) involvedNames(page *corev1.NodeList) []addrName {
	var out []addrName
	for i := range page.Items {
		if _, ok := b.involved[page.Items[i].Name]; ok {
			out = append(out, nodeNames(&page.Items[i])...)
		}
	}
	return out
}

// gather joins what n questions find, some asked at the same time.
func gather(n int, ask func(int) ([]addrName, error)) ([]addrName, []error) {
	answers := make([][]addrName, n)
	errs := parallel(n, func(i int) (err error) {
		answers[i], err = ask(i)
		return err
	})
	return slices.Concat(answers...), errs
}
