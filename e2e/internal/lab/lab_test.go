//go:build linux

package lab

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

func TestFromEnvironment(t *testing.T) {
	t.Setenv("RETINA_E2E_STATE", "/somewhere/../state/")
	t.Setenv("RETINA_E2E_CACHE", "")
	got, err := FromEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{State: "/state", Cache: "/var/cache/kubectl-retina/e2e"}
	if got != want {
		t.Errorf("FromEnvironment: %+v, want %+v", got, want)
	}
}

func TestOpen(t *testing.T) {
	self, err := Inspect(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	dead := Process{PID: self.PID, Start: self.Start + 1, Boot: self.Boot}
	record := func(node Process) *Cluster {
		return &Cluster{
			Bin:          "/cache/bin",
			ControlPlane: Machine{Name: "control-plane", Init: self, IPv4: netip.MustParseAddr("10.98.0.1")},
			Nodes:        []Machine{{Name: "n1", Init: node}},
			Complete:     true,
		}
	}
	tests := []struct {
		name    string
		record  *Cluster
		running bool
	}{
		{name: "never started"},
		{name: "a node has died", record: record(dead)},
		{name: "running", record: record(self), running: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := Settings{State: t.TempDir()}
			if test.record != nil {
				test.record.State = s.State
				if err := test.record.Save(); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Open(s)
			if !test.running {
				if !errors.Is(err, ErrNotRunning) || hint.Of(err) == "" {
					t.Errorf("Open: %v with hint %q, want %v with a hint", err, hint.Of(err), ErrNotRunning)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.record, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("Open differs from what was saved:\n%s", diff)
			}
		})
	}
}

func TestOpenRefusesDamagedRecord(t *testing.T) {
	s := Settings{State: t.TempDir()}
	if err := os.WriteFile(recordPath(s.State), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s); err == nil || errors.Is(err, ErrNotRunning) {
		t.Errorf("Open: %v, want an error that is not %v", err, ErrNotRunning)
	}
}

func TestEnvironment(t *testing.T) {
	c := &Cluster{State: "/state", Bin: "/bin/kube"}
	got := c.Environment([]string{"HOME=/root", "KUBECONFIG=/home/me", "PATH=/usr/bin", "EMPTY="})
	slices.Sort(got)
	want := []string{
		"EMPTY=", "HOME=/root", "KUBECACHEDIR=/state/kubectl-cache", "KUBECONFIG=/state/admin.conf", "PATH=/bin/kube:/usr/bin",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Environment:\n%s", diff)
	}
	if got := c.Environment(nil); !slices.Contains(got, "PATH=/bin/kube") {
		t.Errorf("Environment without PATH: %q", got)
	}
}

func TestNodeUnknown(t *testing.T) {
	c := &Cluster{Nodes: []Machine{{Name: "n1"}, {Name: "n2"}}}
	if m, err := c.Node("n2"); err != nil || m.Name != "n2" {
		t.Errorf("Node n2: %v, %v", m, err)
	}
	if _, err := c.Node("n3"); err == nil || hint.Of(err) == "" {
		t.Errorf("Node n3: %v with hint %q, want an error with a hint", err, hint.Of(err))
	}
}

func TestUnmanaged(t *testing.T) {
	const list = `REF                 TYPE   DIGEST  SIZE PLATFORMS   LABELS
localhost/busybox:1 docker sha256: 2.0  linux/amd64 io.cri-containerd.image=managed
localhost/pause:1   docker sha256: 1.4  linux/amd64 -
`
	if got, want := unmanaged(list), []string{"localhost/pause:1"}; !slices.Equal(got, want) {
		t.Errorf("unmanaged: %q, want %q", got, want)
	}
	if got := unmanaged("REF TYPE DIGEST SIZE PLATFORMS LABELS\n"); got != nil {
		t.Errorf("unmanaged of no image: %q", got)
	}
}
