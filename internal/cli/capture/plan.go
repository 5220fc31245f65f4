package capture

import (
	"fmt"
	"net"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// ringBytes is the size of a collector's ring buffer: at a million small
// packets a second it holds what arrives in half a second.
const ringBytes = 64 << 20

// defaultKubeletPort is where a kubelet listens when its node does not say.
const defaultKubeletPort = 10250

// nodeTarget is the wire.Target.ID of a node itself, behind those of all pods.
const nodeTarget = uint32(1) << 30

// A nodePlan is what one collector does.
type nodePlan struct {
	node    target.Node
	packets wire.PacketsSpec
	// pods are the pods by wire.Target.ID; that of the node is nodeTarget.
	pods []target.Pod
	// hostNetwork are pods that stand behind the whole node.
	hostNetwork []target.Pod
}

// planNode says what the collector on node does.
func planNode(node target.Node, snapLen uint32, hook string) nodePlan {
	p := nodePlan{node: node, packets: wire.PacketsSpec{SnapLen: snapLen, RingBytes: ringBytes, Hook: hook, KubeletPort: defaultKubeletPort}}
	for _, pod := range node.Pods {
		if pod.HostNetwork {
			p.hostNetwork = append(p.hostNetwork, pod)
			continue
		}
		p.packets.Targets = append(p.packets.Targets, p.add(pod))
	}
	if node.Whole || len(p.hostNetwork) > 0 {
		p.packets.Targets = append(p.packets.Targets, p.wholeNode())
	}
	p.know(node.Object)
	return p
}

// know takes over what the API server knows of the node; nil: nothing.
func (p *nodePlan) know(node *corev1.Node) {
	if node == nil {
		return
	}
	p.node.Object = node
	if port := node.Status.DaemonEndpoints.KubeletEndpoint.Port; port > 0 {
		p.packets.KubeletPort = uint16(port)
	}
}

// add makes a pod a target.
func (p *nodePlan) add(pod target.Pod) wire.Target {
	p.pods = append(p.pods, pod)
	return p.wireTarget(uint32(len(p.pods) - 1))
}

// wireTarget is a pod as its collector is told of it.
func (p *nodePlan) wireTarget(id uint32) wire.Target {
	return wire.Target{ID: id, Name: "pod " + p.pods[id].String(), PodUID: p.pods[id].CgroupUID}
}

// wholeNode is the node itself as a target.
func (p *nodePlan) wholeNode() wire.Target {
	return wire.Target{ID: nodeTarget, Name: "node " + p.node.Name, Node: true}
}

// warnings say what the user may not expect of the plan.
func (p *nodePlan) warnings() []string {
	var all []string
	for _, pod := range p.hostNetwork {
		all = append(all, fmt.Sprintf("pod %s uses the network of node %s: the interfaces of the node are captured, with everybody's packets", pod.String(), p.node.Name))
	}
	return all
}

// target names the target with a wire.Target.ID, for messages.
func (p *nodePlan) target(id uint32) string {
	if p.isPod(id) {
		return "pod " + p.pods[id].String()
	}
	return "node " + p.node.Name
}

// isPod tells a pod's target from that of the node.
func (p *nodePlan) isPod(id uint32) bool { return int(id) < len(p.pods) }

// interfaces describe a collector's interfaces as the file's reader will see
// them. The collector's answer is not trusted: it must name each interface and
// target in order.
func (p *nodePlan) interfaces(hello wire.Hello, ready wire.Ready) ([]capture.Interface, error) {
	all := make([]capture.Interface, len(ready.Interfaces))
	for n, i := range ready.Interfaces {
		if i.ID != uint32(n) || !p.isPod(i.Target) && i.Target != nodeTarget {
			return nil, fmt.Errorf("collector answered with interface %d of target %d in place %d", i.ID, i.Target, n)
		}
		all[n] = p.describe(hello, i)
	}
	return all, nil
}

// describe describes one interface.
func (p *nodePlan) describe(hello wire.Hello, i wire.Interface) capture.Interface {
	mac, _ := net.ParseMAC(i.MAC) // an interface may have none
	return capture.Interface{Target: i.Target, Ifname: i.Name, HostSide: i.HostSide, Interface: pcapng.Interface{
		Name: p.interfaceName(i), Description: p.description(i),
		OS: hello.Kernel, MAC: mac, LinkType: i.LinkType, SnapLen: p.packets.SnapLen,
	}}
}

// interfaceName is NS/POD/IFNAME, NODE/IFNAME, or for the node's end of a pod's
// interface NODE/IFNAME (NS/POD).
func (p *nodePlan) interfaceName(i wire.Interface) string {
	if i.HostSide && p.isPod(i.Target) {
		return fmt.Sprintf("%s/%s (%s)", p.node.Name, i.Name, p.pods[i.Target].String())
	}
	if p.isPod(i.Target) {
		return p.pods[i.Target].String() + "/" + i.Name
	}
	return p.node.Name + "/" + i.Name
}

func (p *nodePlan) description(i wire.Interface) string {
	words := []string{"node " + p.node.Name}
	if p.isPod(i.Target) {
		pod := p.pods[i.Target]
		if i.HostSide {
			words = append(words, "node's end of an interface")
		}
		words = append(words, "pod "+pod.String())
		if pod.Owner != "" {
			words = append(words, "owner "+pod.Owner)
		}
		if len(pod.Containers) > 0 {
			words = append(words, "containers "+strings.Join(pod.Containers, " "))
		}
	} else {
		for _, pod := range p.hostNetwork {
			words = append(words, "host-network pod "+pod.String())
		}
	}
	return strings.Join(words, ", ")
}

// relayWarning says when a node that is captured whole may pass on the streams
// of other nodes' collectors: each finds its own connections only.
func relayWarning(nodes []target.Node) string {
	if len(nodes) < 2 {
		return ""
	}
	for _, node := range nodes {
		if node.Whole && node.Object != nil {
			if _, ok := node.Object.Labels["node-role.kubernetes.io/control-plane"]; ok {
				return fmt.Sprintf("node %s may run the API server: then the streams of the other nodes pass through it, and are in the file as well", node.Name)
			}
		}
	}
	return ""
}
