//go:build linux

package main

import "path/filepath"

func (p plan) pki(file string) string { return filepath.Join(p.State, "pki", file) }

// kubeconfig is where the kubeconfig of one client is: "admin" or a component.
func (p plan) kubeconfig(client string) string { return filepath.Join(p.State, client+".conf") }

// writeCredentials makes the certificate authorities, every certificate, and a
// kubeconfig for every client of the API server. Users and groups are the ones
// that the API server's own RBAC defaults and the node authorizer expect.
func (p plan) writeCredentials() error {
	// With this one the API server shows itself to API servers behind it.
	frontProxy, err := newAuthority(p.pki(""), "front-proxy-ca")
	if err != nil {
		return err
	}
	if _, err := frontProxy.issue("front-proxy-client", identity{name: "front-proxy-client"}); err != nil {
		return err
	}
	ca, err := newAuthority(p.pki(""), "ca")
	if err != nil {
		return err
	}
	if err := writeKeyPair(p.pki(""), "service-accounts"); err != nil {
		return err
	}
	for file, id := range p.servers() {
		if _, err := ca.issue(file, id); err != nil {
			return err
		}
	}
	for client, id := range p.clients() {
		credentials, err := ca.issue(client, id)
		if err != nil {
			return err
		}
		if err := p.writeKubeconfig(ca, client, credentials); err != nil {
			return err
		}
	}
	return nil
}

func (p plan) writeKubeconfig(ca *authority, client string, credentials pair) error {
	return renderTo(p.kubeconfig(client), "kubeconfig.yaml", map[string]any{
		"Server":      apiServer(),
		"User":        client,
		"CA":          certificatePEM(ca.certificate.Raw),
		"Certificate": credentials.certificate,
		"Key":         credentials.key,
	})
}

// servers returns the certificates to serve with, by file name.
func (p plan) servers() map[string]identity {
	self := addressesOf(0)
	all := map[string]identity{"apiserver": {name: "kube-apiserver", hosts: []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		"127.0.0.1", "::1", "10.96.0.1", "fd00:96::1", self.ipv4.Addr().String(), self.ipv6.Addr().String(),
	}}}
	for i, node := range p.nodes {
		a := addressesOf(i + 1)
		all["kubelet-"+node] = identity{
			name: "system:node:" + node, group: "system:nodes",
			hosts: []string{node, a.ipv4.Addr().String(), a.ipv6.Addr().String()},
		}
	}
	return all
}

// clients returns who calls the API server or, as "apiserver-kubelet-client",
// a kubelet, by the name of the file with the certificate.
func (p plan) clients() map[string]identity {
	all := map[string]identity{
		"admin":                    {name: "admin", group: "system:masters"},
		"apiserver-kubelet-client": {name: "kube-apiserver-kubelet-client", group: "system:masters"},
		"controller-manager":       {name: "system:kube-controller-manager"},
		"scheduler":                {name: "system:kube-scheduler"},
		"kube-proxy":               {name: "system:kube-proxy"},
	}
	for _, node := range p.nodes {
		all[node] = identity{name: "system:node:" + node, group: "system:nodes"}
	}
	return all
}
