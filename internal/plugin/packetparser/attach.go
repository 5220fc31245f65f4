//go:build linux

package packetparser

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packetparser"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/hook"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
)

// Attach attaches to every interface of pods, and to those of nodes whose packets
// no other interface of the node shows. An error is one interface's, joined.
func (p *Plugin) Attach(added []scope.Interface) error {
	var errs []error
	for _, i := range added {
		if err := p.prepare(i); err != nil {
			errs = append(errs, err)
			continue
		}
		if i.Node && !i.Uplink {
			continue
		}
		if err := p.attach(i); err != nil {
			errs = append(errs, scope.Explain(err))
		}
	}
	return errors.Join(errs...)
}

// prepare makes a target's entries in the tables, once.
func (p *Plugin) prepare(i scope.Interface) error {
	if _, ok := p.latencies[i.Target]; ok {
		return nil
	}
	var none bpf.PacketparserLatency
	if err := p.maps.Latencies.Put(i.Target, &none); err != nil {
		return fmt.Errorf("make room for the latencies of target %d: %w", i.Target, err)
	}
	p.latencies[i.Target] = none
	return p.learnServers(i.Target, i.Netns)
}

// attach loads copies of the programs for one interface and attaches them.
func (p *Plugin) attach(i scope.Interface) error {
	config := bpf.PacketparserInterfaceConfig{Target: i.Target}
	if i.Raw {
		config.Raw = 1
	}
	var programs struct {
		Ingress *ebpf.Program `ebpf:"packetparser_ingress"`
		Egress  *ebpf.Program `ebpf:"packetparser_egress"`
	}
	force := p.scope.Options().Hook
	if force != hook.Socket && !p.noTCX {
		if err := p.load(&programs, config); err != nil {
			return err
		}
		defer programs.Ingress.Close()
		defer programs.Egress.Close()
		c, err := hook.AttachTCX(i.Netns, i.Interface, hook.Programs{Ingress: programs.Ingress, Egress: programs.Egress})
		if err == nil {
			p.attached[i.Target] = append(p.attached[i.Target], c)
			return nil
		}
		if force == hook.TCX || !errors.Is(err, ebpf.ErrNotSupported) {
			return err
		}
		p.noTCX = true
	}
	return p.attachSocket(i, config)
}

func (p *Plugin) attachSocket(i scope.Interface, config bpf.PacketparserInterfaceConfig) error {
	var programs struct {
		Socket *ebpf.Program `ebpf:"packetparser_socket"`
	}
	if err := p.load(&programs, config); err != nil {
		return err
	}
	defer programs.Socket.Close()
	c, err := hook.AttachSocket(i.Netns, i.Interface, programs.Socket)
	if err != nil {
		return err
	}
	p.attached[i.Target] = append(p.attached[i.Target], c)
	return nil
}

// load loads the programs that are fields of the struct that to points to.
func (p *Plugin) load(to any, config bpf.PacketparserInterfaceConfig) error {
	spec := p.spec.Copy()
	if err := spec.Variables[bpf.PacketparserVarConfig].Set(config); err != nil {
		return fmt.Errorf("set BPF config: %w", err)
	}
	return p.scope.LoadWith(spec, to, p.maps.byName())
}
