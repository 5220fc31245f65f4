//go:build linux

// Package tracepoint attaches programs to the kernel's tracepoints.
package tracepoint

import (
	"errors"
	"fmt"
	"slices"

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

// Close detaches.
func (a *Attachment) Close() error { return errors.Join(a.link.Close(), a.program.Close()) }

// Twin is the name of a program's twin: see bpf/include/twin.bpf.h.
func Twin(program string) string { return program + "_twin" }

// A Watch counts what neither of some programs nor their twins were there for: the
// third thing at once on a CPU. It cannot be told in which netns that was, but hardly
// ever is there any.
type Watch struct {
	programs []*ebpf.Program
	twins    *ebpf.Map
	before   int64
	most     uint64
}

// NewWatch counts from now. The caller closes programs and twins, the map of that
// name, after the last use of the Watch.
func NewWatch(twins *ebpf.Map, programs ...*ebpf.Program) (w Watch, err error) {
	w = Watch{programs: programs, twins: twins}
	w.before, err = w.read()
	return w, err
}

// Missed is how often it has happened since. It never goes down. It is 0 on kernels that
// do not tell: see [TellsMisses].
func (w *Watch) Missed() (uint64, error) {
	now, err := w.read()
	if err != nil {
		return 0, err
	}
	w.most = max(w.most, uint64(max(now-w.before, 0)))
	return w.most, nil
}

// Unwatched is what a plugin lacks on a kernel of which TellsMisses is false.
const Unwatched = "what comes while two others are being counted on the same CPU may be missing, and is not counted as lost"

// TellsMisses reports whether a kernel counts what programs were not run for, as Linux
// does since 5.12.
func TellsMisses(kernel *btf.Spec) bool {
	var stats *btf.Struct
	if err := kernel.TypeByName("bpf_prog_stats", &stats); err != nil {
		return false
	}
	return slices.ContainsFunc(stats.Members, func(m btf.Member) bool { return m.Name == "misses" })
}

// read reads how often programs were passed over before how often a twin stood in, so
// that what happens between is not taken for missed.
func (w *Watch) read() (int64, error) {
	var missed, stoodIn uint64
	for _, program := range w.programs {
		stats, err := program.Stats()
		if err != nil {
			return 0, fmt.Errorf("statistics of a program: %w", err)
		}
		missed += stats.RecursionMisses
	}
	for index := range w.twins.MaxEntries() {
		var perCPU []twin
		if err := w.twins.Lookup(index, &perCPU); err != nil {
			return 0, fmt.Errorf("how often twins stood in: %w", err)
		}
		for _, t := range perCPU {
			stoodIn += t.StoodIn
		}
	}
	return int64(missed - stoodIn), nil
}

// twin is struct twin of twin.bpf.h.
type twin struct {
	Busy, _ uint32
	StoodIn uint64
}

// Program is what is attached.
func (a *Attachment) Program() *ebpf.Program { return a.program }

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
