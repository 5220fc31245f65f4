//go:build linux && !unit

package packets

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packets"
	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
)

// TestFailedAttachLeavesNoQdisc attaches programs that the filter does not take.
func TestFailedAttachLeavesNoQdisc(t *testing.T) {
	pod := vethtest.NewPod(t)
	interfaces, err := hostns.PodInterfaces(pod.Netns)
	vethtest.Must(t, err)
	before := pod.TC(t, "qdisc show dev eth0")
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	vethtest.Must(t, err)
	defer program.Close()
	_, err = attachClsact(pod.Netns, interfaces[0], &bpf.PacketsPrograms{PacketsIngress: program, PacketsEgress: program})
	if err == nil {
		t.Fatal("a socket filter was attached as a classifier")
	}
	if after := pod.TC(t, "qdisc show dev eth0"); after != before {
		t.Errorf("after %v\nbefore:\n%s\nafter:\n%s", err, before, after)
	}
}
