//go:build linux

package scope

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// Load loads the programs and maps that are fields of the struct that to points
// to, with the shared maps in their places. The caller closes what it gets.
func (s *Scope) Load(spec *ebpf.CollectionSpec, to any) error { return s.LoadWith(spec, to, nil) }

// LoadWith is Load with more maps that are there already, by their names.
func (s *Scope) LoadWith(spec *ebpf.CollectionSpec, to any, maps map[string]*ebpf.Map) error {
	replacements := make(map[string]*ebpf.Map)
	for name, m := range map[string]*ebpf.Map{
		bpf.ScopeMapScopeNetns: s.maps.ScopeNetns, bpf.ScopeMapScopeAddresses: s.maps.ScopeAddresses,
		bpf.ScopeMapScopeRunning: s.maps.ScopeRunning, bpf.ScopeMapScopeEvents: s.maps.ScopeEvents,
		bpf.ScopeMapScopeLimits: s.maps.ScopeLimits,
	} {
		if spec.Maps[name] != nil {
			replacements[name] = m
		}
	}
	for name, m := range maps {
		replacements[name] = m
	}
	if err := spec.LoadAndAssign(to, &ebpf.CollectionOptions{MapReplacements: replacements}); err != nil {
		return Explain(fmt.Errorf("load BPF programs: %w", err))
	}
	return nil
}

// Explain adds what a refusal by the kernel usually means. The kernel is tried
// first and asked about only after it has said no.
func Explain(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.Is(err, ebpf.ErrNotSupported):
		return hint.Wrap(err, "the node's kernel is too old for this: see kubectl retina plugins")
	case errors.As(err, &verifier):
		return hint.Wrap(fmt.Errorf("%w", err), "the node's kernel refuses the BPF program: please report this with the kernel's version")
	case errors.Is(err, fs.ErrPermission):
		return hint.Wrap(err, "BPF is not allowed here: the collector needs CAP_BPF or CAP_SYS_ADMIN, and the kernel must not be locked down (see `cat /sys/kernel/security/lockdown`)")
	}
	return err
}
