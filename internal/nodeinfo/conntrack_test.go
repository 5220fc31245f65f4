//go:build linux && !unit

package nodeinfo

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
)

// TestConntrackWithoutProcfs is for kernels that do not list entries there.
func TestConntrackWithoutProcfs(t *testing.T) {
	pod := vethtest.NewPod(t)
	conn := vethtest.TCP(t, pod, "192.0.2.1:5033", "192.0.2.2:6033")
	// Connections are tracked where a rule needs that.
	vethtest.Must(t, pod.Netns.Do(func() error {
		return exec.Command("iptables-nft", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP").Run()
	}))
	_, err := conn.Write([]byte("track me"))
	vethtest.Must(t, err)
	_, err = conn.Read(make([]byte, 4))
	vethtest.Must(t, err)

	r := newRecorder(t, 1<<20, 1<<20)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r.ctx = ctx
	vethtest.Must(t, pod.Netns.Do(func() error { return dumpConntrack(r, "conntrack -L", "1") }))
	vethtest.Must(t, r.finish())
	text, err := os.ReadFile(filepath.Join(r.dir, "conntrack.txt"))
	vethtest.Must(t, err)
	if !strings.Contains(string(text), "tcp\t6 src=192.0.2.1 dst=192.0.2.2 sport=5033 dport=6033 ") || !strings.Contains(string(text), "tcp_state=3") {
		t.Errorf("no entry in\n%s", text)
	}
	if err := dumpConntrack(newRecorder(t, 1<<20, 1<<20), "", "100001"); err == nil {
		t.Error("a table of any size is read into memory")
	}
}
