//go:build linux

// Package tracepoint attaches programs to the kernel's tracepoints.
package tracepoint

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
)

// Attachment is a program at its tracepoint.
type Attachment struct {
	program *ebpf.Program
	link    link.Link
}

// Attach loads one program of spec, with maps that are there already, and attaches
// it to its tracepoint. The error is ebpf.ErrNotSupported where the kernel has none.
func Attach(s *scope.Scope, spec *ebpf.CollectionSpec, program string, maps map[string]*ebpf.Map) (*Attachment, error) {
	spec = spec.Copy()
	one := spec.Programs[program]
	spec.Programs = map[string]*ebpf.ProgramSpec{"program": one}
	var loaded struct {
		Program *ebpf.Program `ebpf:"program"`
	}
	if err := s.LoadWith(spec, &loaded, maps); err != nil {
		return nil, err
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: loaded.Program})
	if err != nil {
		err = scope.Explain(fmt.Errorf("attach to tracepoint %s: %w", one.AttachTo, err))
		return nil, errors.Join(err, loaded.Program.Close())
	}
	return &Attachment{program: loaded.Program, link: l}, nil
}

// Missed is how often the kernel has passed over the program, in any netns: it does
// not run a program again on a CPU where the same program has been interrupted.
// Kernels before 5.12 do not say and give 0.
func (a *Attachment) Missed() (uint64, error) {
	stats, err := a.program.Stats()
	if err != nil {
		return 0, fmt.Errorf("statistics of a program: %w", err)
	}
	return stats.RecursionMisses, nil
}

// Close detaches.
func (a *Attachment) Close() error { return errors.Join(a.link.Close(), a.program.Close()) }

// Arguments is how many a tracepoint has; 0: there is no such tracepoint.
func Arguments(kernel *btf.Spec, name string) int {
	var def *btf.Typedef
	if err := kernel.TypeByName("btf_trace_"+name, &def); err != nil {
		return 0
	}
	pointer, ok := def.Type.(*btf.Pointer)
	if !ok {
		return 0
	}
	proto, ok := pointer.Target.(*btf.FuncProto)
	if !ok {
		return 0
	}
	return len(proto.Params) - 1 // the first is the kernel's own
}
