//go:build linux

package main

import "path/filepath"

// DNS service addresses, inside serviceCIDRs.
const (
	dns4 = "10.96.0.10"
	dns6 = "fd00:96::a"
)

// writeNodeConfiguration writes the configuration of everything that node
// number i (from 1) runs into its directory.
func (p plan) writeNodeConfiguration(i int) error {
	node, a := p.nodes[i-1], addressesOf(i)
	values := map[string]any{
		"Node":       node,
		"PKI":        p.pki(""),
		"Cgroup":     p.cgroup(),
		"Kubeconfig": p.kubeconfig("kube-proxy"),
		"PodCIDRs":   podCIDRs,
		"DNS4":       dns4,
		"Pause":      pauseImage,
		"CNI":        cniDir(),
		"Pods4":      a.pods4,
		"Pods6":      a.pods6,
		"More4":      a.more4,
	}
	for path, template := range map[string]string{
		"containerd.toml":                       "containerd.toml",
		"kubelet.yaml":                          "kubelet.yaml",
		"kube-proxy.yaml":                       "kube-proxy.yaml",
		"cni/net.d/10-pods.conflist":            "pods.conflist",
		"cni/two-interfaces/10-pods.conflist":   "pods.conflist",
		"cni/two-interfaces/20-second.conflist": "second.conflist",
		"cni/ipv6-only/10-pods.conflist":        "ipv6-only.conflist",
	} {
		if err := renderTo(filepath.Join(p.MachineDir(node), path), template, values); err != nil {
			return err
		}
	}
	return nil
}
