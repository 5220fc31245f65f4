//go:build linux

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestNodeConfiguration(t *testing.T) {
	p := testPlan(t, 2)
	if err := p.writeNodeConfiguration(2); err != nil {
		t.Fatal(err)
	}
	dir := p.MachineDir("n2")

	var kubelet struct {
		CgroupRoot     string
		ClusterDNS     []string
		TLSCertFile    string
		Authentication struct{ Anonymous struct{ Enabled *bool } }
	}
	readYAML(t, filepath.Join(dir, "kubelet.yaml"), &kubelet)
	if want := "/" + p.cgroup() + "/n2"; kubelet.CgroupRoot != want {
		t.Errorf("cgroup root %q, want %q", kubelet.CgroupRoot, want)
	}
	if want := p.pki("kubelet-n2.crt"); kubelet.TLSCertFile != want {
		t.Errorf("certificate %q, want %q", kubelet.TLSCertFile, want)
	}
	if anonymous := kubelet.Authentication.Anonymous.Enabled; anonymous == nil || *anonymous {
		t.Error("the kubelet serves anyone")
	}

	var proxy struct{ HostnameOverride, ClusterCIDR string }
	readYAML(t, filepath.Join(dir, "kube-proxy.yaml"), &proxy)
	if proxy.HostnameOverride != "n2" || proxy.ClusterCIDR != podCIDRs {
		t.Errorf("kube-proxy: %+v", proxy)
	}
}

func TestPodNetworks(t *testing.T) {
	p := testPlan(t, 2)
	if err := p.writeNodeConfiguration(2); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(p.MachineDir("n2"), "cni")
	tests := []struct {
		file    string
		subnets []string
	}{
		{"net.d/10-pods.conflist", []string{"10.99.2.0/24", "fd00:99:0:2::/64"}},
		{"ipv6-only/10-pods.conflist", []string{"fd00:99:0:2::/64"}},
		{"two-interfaces/10-pods.conflist", []string{"10.99.2.0/24", "fd00:99:0:2::/64"}},
		{"two-interfaces/20-second.conflist", []string{"10.100.2.0/24"}},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(dir, test.file))
			if err != nil {
				t.Fatal(err)
			}
			var network struct {
				Plugins []struct {
					IPAM struct{ Ranges [][]struct{ Subnet string } }
				}
			}
			if err := json.Unmarshal(text, &network); err != nil {
				t.Fatal(err)
			}
			var subnets []string
			for _, set := range network.Plugins[0].IPAM.Ranges {
				subnets = append(subnets, set[0].Subnet)
			}
			if diff := cmp.Diff(test.subnets, subnets); diff != "" {
				t.Errorf("subnets:\n%s", diff)
			}
		})
	}
}

func TestClusterManifests(t *testing.T) {
	manifests, err := render("cluster.yaml", map[string]any{
		"DNS4": dns4, "DNS6": dns6, "CoreDNS": corednsImage, "Replicas": 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for document := range strings.SplitSeq(string(manifests), "\n---\n") {
		var object struct {
			Kind string
			Spec struct{ ClusterIPs []string }
		}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		kinds = append(kinds, object.Kind)
		if object.Kind == "Service" {
			if diff := cmp.Diff([]string{dns4, dns6}, object.Spec.ClusterIPs); diff != "" {
				t.Errorf("addresses of the DNS service:\n%s", diff)
			}
		}
	}
	want := []string{
		"RuntimeClass", "RuntimeClass", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Service", "Deployment",
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("kinds:\n%s", diff)
	}
}

func TestRenderRefusesMissingValue(t *testing.T) {
	if text, err := render("kube-proxy.yaml", map[string]any{"Node": "n1"}); err == nil {
		t.Errorf("rendered without its values:\n%s", text)
	}
}

// Every program that a service starts has its configuration, and every file
// that a command line names is one that is written.
func TestServicesNameWrittenFiles(t *testing.T) {
	p := testPlan(t, 1)
	if err := p.writeCredentials(); err != nil {
		t.Fatal(err)
	}
	specs, err := p.machineSpecs()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, spec := range specs {
		for _, service := range spec.Services {
			for _, argument := range service.Argv[1:] {
				_, path, _ := strings.Cut(argument, "=")
				if !strings.HasPrefix(path, p.State) || strings.HasPrefix(argument, "--data-dir=") || path == p.AuditLog() {
					continue
				}
				checked++
				if _, err := os.Stat(path); err != nil {
					t.Errorf("%s of %s: %s: %v", service.Name, spec.Name, argument, err)
				}
			}
		}
	}
	if checked < 15 {
		t.Errorf("only %d files named, so this test looks for the wrong thing", checked)
	}
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
