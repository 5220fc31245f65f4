package follow

import (
	"net/netip"
	"slices"
	"time"
	"unique"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// nameKept is for how long an address keeps the name of a pod that has ended:
// flows are reported a little later than they happen.
const nameKept = 30 * time.Second

// podRecord is what is kept of a pod. There may be 100,000, so there is no more
// than is asked for, and what pods have in common is kept once. A record in a book
// does not change.
type podRecord struct {
	name      string // "NAMESPACE/NAME"; see split
	uid       string
	node      string
	workload  string
	labels    unique.Handle[string] // as labels.Set.String writes them
	addrs     []netip.Addr          // of its own; none if it uses its node's network
	hostAddrs []netip.Addr          // of its node, until it is in a book
	created   int64                 // in s since 1970
}

func (p *podRecord) key() string { return p.name }

// holder is who has an address, or had it until lately.
type holder struct {
	pod   *podRecord
	until int64 // in ns since 1970, when the name is forgotten; 0 while the pod has the address
}

type expiry struct {
	addr  netip.Addr
	until int64
}

// A book is what a Directory knows. Its owner guards it: party, podParty and
// nodeParty may run at the same time as each other, all else alone.
type book struct {
	now func() time.Time

	pods    map[string]*podRecord
	holders map[netip.Addr]holder
	expired []expiry // of holders that have an end, soonest first

	namespaces map[string]*namespaceBook
	clusterIPs map[netip.Addr]string // "NAMESPACE/NAME" of services
	outerIPs   map[netip.Addr]string // external and load balancer's addresses of services

	nodes     map[string]*nodeRecord
	nodeAddrs map[netip.Addr]string
	hostAddrs map[netip.Addr]string // of nodes, as their pods say; for who may not list nodes
	ranges    rangeSet              // of the nodes' pods

	whole bool // all pods and services of the cluster are known
}

func newBook(now func() time.Time) *book {
	return &book{
		now:        now,
		pods:       make(map[string]*podRecord),
		holders:    make(map[netip.Addr]holder),
		namespaces: make(map[string]*namespaceBook),
		clusterIPs: make(map[netip.Addr]string),
		outerIPs:   make(map[netip.Addr]string),
		nodes:      make(map[string]*nodeRecord),
		nodeAddrs:  make(map[netip.Addr]string),
		hostAddrs:  make(map[netip.Addr]string),
	}
}

// setPod enters a pod, in place of the one of its name.
func (b *book) setPod(pod *podRecord) {
	before := b.pods[pod.name]
	b.pods[pod.name] = pod
	if before != nil {
		for _, addr := range before.addrs {
			if !slices.Contains(pod.addrs, addr) {
				b.giveBack(addr, before)
			}
		}
	}
	for _, addr := range pod.addrs {
		has, ok := b.holders[addr]
		// Of two that say they have it, the older one has not noticed its end yet.
		if !ok || has.until != 0 || has.pod == before || has.pod.created <= pod.created {
			b.holders[addr] = holder{pod: pod}
		}
	}
	for _, addr := range pod.hostAddrs {
		b.hostAddrs[addr] = pod.node
	}
	pod.hostAddrs = nil
	b.forget()
}

// removePod takes a pod out. Its addresses keep its name for a while.
func (b *book) removePod(name string) {
	pod, ok := b.pods[name]
	if !ok {
		return
	}
	delete(b.pods, name)
	for _, addr := range pod.addrs {
		b.giveBack(addr, pod)
	}
	b.forget()
}

func (b *book) giveBack(addr netip.Addr, pod *podRecord) {
	if has := b.holders[addr]; has.pod != pod || has.until != 0 {
		return
	}
	until := b.now().Add(nameKept).UnixNano()
	b.holders[addr] = holder{pod, until}
	b.expired = append(b.expired, expiry{addr, until})
}

// forget takes out the holders whose time is over.
func (b *book) forget() {
	now, n := b.now().UnixNano(), 0
	for ; n < len(b.expired) && b.expired[n].until <= now; n++ {
		if gone := b.expired[n]; b.holders[gone.addr].until == gone.until {
			delete(b.holders, gone.addr)
		}
	}
	b.expired = slices.Delete(b.expired, 0, n)
}

// party says who has addr.
func (b *book) party(addr netip.Addr) metrics.Party {
	has, held := b.holders[addr]
	if held && has.until == 0 {
		return b.describe(has.pod, addr)
	}
	if name, ok := b.clusterIPs[addr]; ok {
		return serviceParty(name, addr)
	}
	if name, ok := b.nodeAddrs[addr]; ok {
		return b.at(name, addr)
	}
	if name, ok := b.hostAddrs[addr]; ok && len(b.nodes) == 0 {
		return b.at(name, addr)
	}
	// Load balancers may give out the addresses of nodes: those come first.
	if name, ok := b.outerIPs[addr]; ok {
		return serviceParty(name, addr)
	}
	if held && b.now().UnixNano() < has.until {
		return b.describe(has.pod, addr)
	}
	party := metrics.Party{Kind: metrics.KindUnknown, Addresses: []netip.Addr{addr}}
	if b.whole && !b.ranges.contains(addr) {
		party.Kind = metrics.KindExternal
	}
	return party
}

// podParty describes a target. Its record is looked for under its name, then,
// if it has ended, under its addresses.
func (b *book) podParty(pod target.Pod) metrics.Party {
	record := b.pods[pod.String()]
	for _, addr := range pod.IPs {
		if record == nil || record.uid != pod.UID {
			record = b.holders[addr].pod
		}
	}
	if record == nil || record.uid != pod.UID {
		record = &podRecord{name: pod.String(), node: pod.Node, workload: workloadOf(pod)}
	}
	return b.describe(record, pod.IPs...)
}

func (b *book) nodeParty(name string) metrics.Party {
	if node := b.nodes[name]; node != nil {
		return b.at(name, node.addrs...)
	}
	var addrs []netip.Addr
	for addr, node := range b.hostAddrs {
		if node == name {
			addrs = append(addrs, addr)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return b.at(name, addrs...)
}

func (b *book) describe(pod *podRecord, addrs ...netip.Addr) metrics.Party {
	namespace, name := split(pod.name)
	party := metrics.Party{
		Kind:      metrics.KindPod,
		Namespace: namespace,
		Name:      name,
		Node:      pod.node,
		Workload:  pod.workload,
		Zone:      b.zone(pod.node),
		Addresses: slices.Clone(addrs),
	}
	if ns := b.namespaces[namespace]; ns != nil && pod.labels != (unique.Handle[string]{}) {
		found := ns.selecting(pod.labels)
		party.Service, party.Policies = found.service, slices.Clone(found.policies)
	}
	return party
}

// at describes a node with some addresses.
func (b *book) at(node string, addrs ...netip.Addr) metrics.Party {
	return metrics.Party{Kind: metrics.KindNode, Name: node, Zone: b.zone(node), Addresses: slices.Clone(addrs)}
}

func (b *book) zone(node string) string {
	if n := b.nodes[node]; n != nil {
		return n.zone
	}
	return ""
}

func serviceParty(name string, addr netip.Addr) metrics.Party {
	party := metrics.Party{Kind: metrics.KindService, Addresses: []netip.Addr{addr}}
	party.Namespace, party.Name = split(name)
	return party
}
