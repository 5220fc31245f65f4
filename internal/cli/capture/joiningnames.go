package capture

import (
	"net/netip"

	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/target/follow"
)

// maxNamedNamespaces bounds the namespaces whose pods are watched for their names only.
const maxNamedNamespaces = 16

// followNames names the addresses that pods get while they are captured from: those of
// the namespaces that have targets at the beginning. Else a pod that comes would have
// no name, or that of one whose address it has got.
func (j *joining) followNames(first []pcapng.Name) {
	namespaces := map[string]bool{}
	for i := range j.run.resolved.Nodes {
		for _, pod := range j.run.resolved.Nodes[i].Pods {
			namespaces[pod.Namespace] = true
		}
	}
	if len(namespaces) == 0 || len(namespaces) > maxNamedNamespaces {
		return
	}
	known := knownNames(first)
	// Its error is of a resource that it does not know.
	_ = follow.WatchPodNames(j.ctx, j.run.cluster.Client, sortedKeys(namespaces), func(names []follow.NamedAddress) {
		if news := known.news(names); len(news) > 0 {
			j.merger.Name(news)
		}
	})
}

// namesTold are the names of addresses that the file has, the last of each.
type namesTold map[netip.Addr]string

// knownNames are those that a file begins with: of an address with several names the
// first counts for who reads it.
func knownNames(names []pcapng.Name) namesTold {
	known := make(namesTold, len(names))
	for _, n := range names {
		if addr := n.Addr.Unmap(); known[addr] == "" {
			known[addr] = n.Name
		}
	}
	return known
}

// news are the names that the file does not have.
func (n namesTold) news(names []follow.NamedAddress) (news []pcapng.Name) {
	for _, one := range names {
		if name := one.Pod + "." + one.Namespace; n[one.Addr] != name {
			n[one.Addr] = name
			news = append(news, pcapng.Name{Addr: one.Addr, Name: name})
		}
	}
	return news
}
