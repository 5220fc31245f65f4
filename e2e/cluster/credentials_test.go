//go:build linux

package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"slices"
	"testing"
)

func TestCredentials(t *testing.T) {
	p := testPlan(t, 1)
	if err := p.writeCredentials(); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(p.pki("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	tests := []struct {
		file, user, group, host string
		usage                   x509.ExtKeyUsage
	}{
		{file: "apiserver", user: "kube-apiserver", host: "10.98.0.1", usage: server},
		{file: "apiserver", user: "kube-apiserver", host: "fd00:98::1", usage: server},
		{file: "apiserver", user: "kube-apiserver", host: "kubernetes.default.svc", usage: server},
		{file: "kubelet-n1", user: "system:node:n1", group: "system:nodes", host: "10.98.0.11", usage: server},
		{file: "n1", user: "system:node:n1", group: "system:nodes", usage: client},
		{file: "admin", user: "admin", group: "system:masters", usage: client},
		{file: "controller-manager", user: "system:kube-controller-manager", usage: client},
	}
	for _, test := range tests {
		t.Run(test.file+" "+test.host, func(t *testing.T) {
			pair, err := tls.LoadX509KeyPair(p.pki(test.file+".crt"), p.pki(test.file+".key"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: test.host, KeyUsages: []x509.ExtKeyUsage{test.usage}})
			if err != nil {
				t.Error(err)
			}
			subject := pair.Leaf.Subject
			if subject.CommonName != test.user || test.group != "" && !slices.Equal(subject.Organization, []string{test.group}) {
				t.Errorf("for %v, want %s of %s", subject, test.user, test.group)
			}
		})
	}
}

func TestFrontProxyAuthorityIsAnother(t *testing.T) {
	p := testPlan(t, 1)
	if err := p.writeCredentials(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(p.pki("front-proxy-client.crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(p.pki("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	options := x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if _, err := certificate.Verify(options); err == nil {
		t.Error("the front proxy's certificate is also a user's")
	}
}

func TestKubeconfig(t *testing.T) {
	p := testPlan(t, 1)
	if err := p.writeCredentials(); err != nil {
		t.Fatal(err)
	}
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server string
				CA     string `json:"certificate-authority-data"`
			}
		}
		CurrentContext string `json:"current-context"`
		Contexts       []struct{ Name string }
	}
	readYAML(t, p.kubeconfig("admin"), &config)
	if config.Clusters[0].Cluster.Server != "https://10.98.0.1:6443" || config.CurrentContext != config.Contexts[0].Name {
		t.Errorf("kubeconfig: %+v", config)
	}
	want, err := os.ReadFile(p.pki("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if config.Clusters[0].Cluster.CA != base64.StdEncoding.EncodeToString(want) {
		t.Error("kubeconfig has another authority")
	}
}
