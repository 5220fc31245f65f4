//go:build linux

package dns

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/dns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/hook"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
)

// Attach attaches to every interface of pods, and to those of nodes whose packets
// no other interface of the node shows.
func (p *Plugin) Attach(added []scope.Interface) error {
	var errs []error
	for _, i := range added {
		if i.Node && !i.Uplink {
			continue
		}
		c, err := p.attach(i)
		if err != nil {
			errs = append(errs, scope.Explain(err))
			continue
		}
		p.attached[i.Target] = append(p.attached[i.Target], c)
	}
	return errors.Join(errs...)
}

// attach loads copies of the programs for one interface and attaches them.
func (p *Plugin) attach(i scope.Interface) (io.Closer, error) {
	config := bpf.DNSDnsConfig{Target: i.Target, WakeBytes: p.ring.MaxEntries() / 2}
	if i.Raw {
		config.Raw = 1
	}
	if i.Node {
		config.Node = 1
	}
	force := p.scope.Options().Hook
	if force != hook.Socket && !p.noTCX {
		c, err := p.attachTCX(i, config)
		if err == nil || force == hook.TCX || !errors.Is(err, ebpf.ErrNotSupported) {
			return c, err
		}
		p.noTCX = true
	}
	var programs struct {
		Socket *ebpf.Program `ebpf:"dns_socket"`
	}
	if err := p.load(&programs, config); err != nil {
		return nil, err
	}
	defer programs.Socket.Close()
	return hook.AttachSocket(i.Netns, i.Interface, programs.Socket)
}

func (p *Plugin) attachTCX(i scope.Interface, config bpf.DNSDnsConfig) (io.Closer, error) {
	var programs struct {
		Ingress *ebpf.Program `ebpf:"dns_ingress"`
		Egress  *ebpf.Program `ebpf:"dns_egress"`
	}
	if err := p.load(&programs, config); err != nil {
		return nil, err
	}
	defer programs.Ingress.Close()
	defer programs.Egress.Close()
	return hook.AttachTCX(i.Netns, i.Interface, hook.Programs{Ingress: programs.Ingress, Egress: programs.Egress})
}

// load loads the programs that are fields of the struct that to points to.
func (p *Plugin) load(to any, config bpf.DNSDnsConfig) error {
	spec := p.spec.Copy()
	if err := spec.Variables[bpf.DNSVarConfig].Set(config); err != nil {
		return fmt.Errorf("set BPF config: %w", err)
	}
	return p.scope.LoadWith(spec, to, map[string]*ebpf.Map{bpf.DNSMapDnsRing: p.ring, bpf.DNSMapDnsLost: p.losses})
}
