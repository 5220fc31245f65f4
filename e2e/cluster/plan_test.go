//go:build linux

package main

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
	"github.com/kubectl-retina/kubectl-retina/e2e/internal/storage/programs"
)

func testPlan(t *testing.T, nodes int) plan {
	t.Helper()
	p, err := newPlan(lab.Settings{State: t.TempDir(), Cache: "/cache"}, nodes)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNewPlanRefuses(t *testing.T) {
	for _, nodes := range []int{-1, 0, maxNodes + 1} {
		if _, err := newPlan(lab.Settings{}, nodes); err == nil {
			t.Errorf("%d nodes: no error", nodes)
		}
	}
}

func TestAddresses(t *testing.T) {
	a := addressesOf(1)
	for got, want := range map[netip.Prefix]string{
		a.ipv4:  "10.98.0.11/24",
		a.ipv6:  "fd00:98::11/64",
		a.pods4: "10.99.1.0/24",
		a.pods6: "fd00:99:0:1::/64",
		a.more4: "10.100.1.0/24",
	} {
		if got.String() != want {
			t.Errorf("n1: %s, want %s", got, want)
		}
	}
}

func TestAddressesDoNotMeet(t *testing.T) {
	var networks []netip.Prefix
	for cidr := range strings.SplitSeq(serviceCIDRs, ",") {
		networks = append(networks, netip.MustParsePrefix(cidr))
	}
	networks = append(networks, addressesOf(0).ipv4.Masked(), addressesOf(0).ipv6.Masked())
	hosts := map[netip.Addr]bool{}
	for i := range maxNodes + 1 {
		a := addressesOf(i)
		if a.ipv4.Masked() != addressesOf(0).ipv4.Masked() || a.ipv6.Masked() != addressesOf(0).ipv6.Masked() {
			t.Errorf("machine %d is on another link: %s, %s", i, a.ipv4, a.ipv6)
		}
		if hosts[a.ipv4.Addr()] || hosts[a.ipv6.Addr()] {
			t.Errorf("machine %d has the address of another: %s, %s", i, a.ipv4, a.ipv6)
		}
		hosts[a.ipv4.Addr()], hosts[a.ipv6.Addr()] = true, true
		if i > 0 {
			networks = append(networks, a.pods4, a.pods6, a.more4)
		}
	}
	for i, a := range networks {
		for _, b := range networks[:i] {
			if a.Overlaps(b) {
				t.Errorf("%s overlaps %s", a, b)
			}
		}
	}
}

func TestPodNetworksHoldEveryNode(t *testing.T) {
	for cidr := range strings.SplitSeq(podCIDRs, ",") {
		all := netip.MustParsePrefix(cidr)
		for i := range maxNodes {
			a := addressesOf(i + 1)
			pods := a.pods4
			if all.Addr().Is6() {
				pods = a.pods6
			}
			if !all.Contains(pods.Addr()) || pods.Bits() < all.Bits() {
				t.Errorf("%s is not inside %s", pods, all)
			}
		}
	}
}

// The constants name cache directories and images; the modules decide what is built.
func TestVersionsAreThoseOfTheModules(t *testing.T) {
	for path, want := range map[string]string{
		"modules/kubernetes/go.mod": `(?m)^require k8s\.io/kubernetes ` + regexp.QuoteMeta(kubernetesVersion) + `$`,
		"modules/coredns/go.mod":    `(?m)^require github\.com/coredns/coredns ` + regexp.QuoteMeta(corednsVersion) + `$`,
		"modules/versitygw/go.mod":  `(?m)^require github\.com/versity/versitygw ` + regexp.QuoteMeta(programs.VersitygwVersion) + `$`,
		"modules/krew/go.mod":       `(?m)^require sigs\.k8s\.io/krew ` + regexp.QuoteMeta(lab.KrewVersion) + `$`,
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(want).Match(text) {
			t.Errorf("%s does not match %s", path, want)
		}
	}
}

func TestCgroupNameDependsOnState(t *testing.T) {
	a, b := cgroupName("/tmp/a"), cgroupName("/tmp/b")
	if a == b || a != cgroupName("/tmp/a") || strings.Contains(a, "/") {
		t.Errorf("cgroups of /tmp/a and /tmp/b: %q, %q", a, b)
	}
}
