//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// Versions of what the cluster is made of. The modules of the same name pin
// them; go.mod there and these must agree (a test holds it).
const (
	kubernetesVersion = "v1.34.4"
	corednsVersion    = "v1.15.0"
)

// Images that every node has. Their tag is never latest, so that kubelets use
// what is there (policy IfNotPresent) and ask no registry.
const (
	pauseImage   = "localhost/pause:1"
	busyboxImage = "localhost/busybox:1"
	trafficImage = "localhost/retina-traffic:1"
	corednsImage = "localhost/coredns:" + corednsVersion
)

const (
	controlPlane = "control-plane"
	maxNodes     = 9
	serviceCIDRs = "10.96.0.0/16,fd00:96::/112"
	podCIDRs     = "10.99.0.0/16,fd00:99::/48"
	apiPort      = 6443
)

// plan is everything about a cluster that is decided before it starts.
type plan struct {
	lab.Settings
	nodes []string // n1, n2, …
}

func newPlan(s lab.Settings, nodes int) (plan, error) {
	if nodes < 1 || nodes > maxNodes {
		return plan{}, fmt.Errorf("%d nodes: want 1 to %d", nodes, maxNodes)
	}
	p := plan{Settings: s}
	for i := range nodes {
		p.nodes = append(p.nodes, fmt.Sprintf("n%d", i+1))
	}
	return p, nil
}

// bin is where the programs of this Kubernetes version are cached.
func (p plan) bin() string { return filepath.Join(p.Cache, kubernetesVersion, "bin") }

func (p plan) program(name string) string { return filepath.Join(p.bin(), name) }

// cgroup is the name of the cluster's cgroup below the root of each hierarchy;
// clusters with other state directories have others.
func (p plan) cgroup() string { return cgroupName(p.State) }

func cgroupName(state string) string {
	sum := sha256.Sum256([]byte(state))
	return "kubectl-retina-e2e-" + hex.EncodeToString(sum[:4])
}

// machineID returns an identifier as in machine-id(5): 32 hexadecimal digits.
func machineID(state, node string) string {
	sum := sha256.Sum256([]byte(state + "/" + node))
	return hex.EncodeToString(sum[:16])
}

// addresses is what machine number i (0: the control plane, 1: n1, …) is
// known by. All machines share one link.
type addresses struct {
	ipv4, ipv6   netip.Prefix // its own addresses with the size of the link's network
	pods4, pods6 netip.Prefix // what its pods get; of no meaning for the control plane
	more4        netip.Prefix // the second interface of pods that ask for one
}

func addressesOf(i int) addresses {
	last4, last6 := byte(1), byte(1)
	if i > 0 {
		last4, last6 = byte(10+i), byte(0x10+i) // n1: 10.98.0.11 and fd00:98::11
	}
	v6 := func(second, fourth, last byte) netip.Addr {
		return netip.AddrFrom16([16]byte{0: 0xfd, 3: second, 7: fourth, 15: last})
	}
	return addresses{
		ipv4:  netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 98, 0, last4}), 24),
		ipv6:  netip.PrefixFrom(v6(0x98, 0, last6), 64),
		pods4: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, byte(i), 0}), 24),
		pods6: netip.PrefixFrom(v6(0x99, byte(i), 0), 64),
		more4: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100, byte(i), 0}), 24),
	}
}

// apiServer is the URL of the API server inside the cluster's network.
func apiServer() string {
	return fmt.Sprintf("https://%s:%d", addressesOf(0).ipv4.Addr(), apiPort)
}
