//go:build linux

package main

import (
	"fmt"
	"strings"
)

// service is a program that a machine's supervisor keeps running.
type service struct {
	Name  string   `json:"name"`
	Argv  []string `json:"argv"`
	Needs []string `json:"needs,omitempty"` // URLs that must answer before it is started: unix, http or https
}

const (
	containerdSocket = "/run/containerd/containerd.sock"
	etcdURL          = "http://127.0.0.1:2379"
	kubeletHealth    = "http://127.0.0.1:10248/healthz"
)

// apiReady answers when the API server has done what it does at its start.
func apiReady() string { return apiServer() + "/readyz" }

// controlPlaneServices returns what the control plane runs.
func (p plan) controlPlaneServices(dir string) []service {
	return []service{
		{Name: "etcd", Argv: []string{
			"etcd",
			"--data-dir=" + dir + "/etcd",
			"--unsafe-no-fsync", // the data does not outlive the cluster
			"--listen-client-urls=" + etcdURL,
			"--advertise-client-urls=" + etcdURL,
			"--listen-peer-urls=http://127.0.0.1:2380",
		}},
		{Name: "kube-apiserver", Argv: p.apiServerArgv(dir)},
		{Name: "kube-controller-manager", Needs: []string{apiReady()}, Argv: []string{
			p.program("kube-controller-manager"),
			"--kubeconfig=" + p.kubeconfig("controller-manager"),
			"--secure-port=0",
			"--leader-elect=false",
			"--kube-api-qps=500", // the default makes its start take five seconds
			"--kube-api-burst=1000",
			"--use-service-account-credentials",
			"--service-account-private-key-file=" + p.pki("service-accounts.key"),
			"--root-ca-file=" + p.pki("ca.crt"),
			"--cluster-signing-cert-file=" + p.pki("ca.crt"),
			"--cluster-signing-key-file=" + p.pki("ca.key"),
			"--cluster-cidr=" + podCIDRs,
			"--service-cluster-ip-range=" + serviceCIDRs,
			// Much below the defaults, so that a test of a dead node takes
			// seconds; see also the lease in the kubelet's configuration.
			"--node-monitor-grace-period=16s",
			"--node-monitor-period=2s",
		}},
		{Name: "kube-scheduler", Needs: []string{apiReady()}, Argv: []string{
			p.program("kube-scheduler"),
			"--kubeconfig=" + p.kubeconfig("scheduler"),
			"--secure-port=0",
			"--leader-elect=false",
		}},
	}
}

func (p plan) apiServerArgv(dir string) []string {
	return []string{
		p.program("kube-apiserver"),
		"--etcd-servers=" + etcdURL,
		"--advertise-address=" + addressesOf(0).ipv4.Addr().String(),
		fmt.Sprintf("--secure-port=%d", apiPort),
		"--tls-cert-file=" + p.pki("apiserver.crt"),
		"--tls-private-key-file=" + p.pki("apiserver.key"),
		"--client-ca-file=" + p.pki("ca.crt"),
		"--kubelet-certificate-authority=" + p.pki("ca.crt"),
		"--kubelet-client-certificate=" + p.pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + p.pki("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + p.pki("service-accounts.pub"),
		"--service-account-signing-key-file=" + p.pki("service-accounts.key"),
		"--requestheader-client-ca-file=" + p.pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + p.pki("front-proxy-client.crt"),
		"--proxy-client-key-file=" + p.pki("front-proxy-client.key"),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range=" + serviceCIDRs,
		"--allow-privileged",
		"--audit-policy-file=" + dir + "/audit.yaml",
		"--audit-log-path=" + p.AuditLog(),
		"--audit-log-mode=blocking-strict", // what a request has done is in the log before its answer
	}
}

// nodeServices returns what node number i (from 1) runs.
func (p plan) nodeServices(i int, dir string) []service {
	node, a := p.nodes[i-1], addressesOf(i)
	return []service{
		{Name: "containerd", Argv: []string{"containerd", "--config=" + dir + "/containerd.toml"}},
		{Name: "kubelet", Needs: []string{"unix://" + containerdSocket, apiReady()}, Argv: []string{
			p.program("kubelet"),
			"--config=" + dir + "/kubelet.yaml",
			"--kubeconfig=" + p.kubeconfig(node),
			"--hostname-override=" + node,
			"--node-ip=" + strings.Join([]string{a.ipv4.Addr().String(), a.ipv6.Addr().String()}, ","),
			"--v=2",
		}},
		// It takes the node's addresses from the API server, so after the kubelet.
		{Name: "kube-proxy", Needs: []string{kubeletHealth}, Argv: []string{
			p.program("kube-proxy"),
			"--config=" + dir + "/kube-proxy.yaml",
		}},
	}
}
