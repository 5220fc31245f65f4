//go:build linux

package tracepoint_test

import (
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser/tracepoint"
)

func TestArguments(t *testing.T) {
	pointer := func(to btf.Type) btf.Type { return &btf.Pointer{Target: to} }
	context := btf.FuncParam{Name: "__data", Type: pointer(&btf.Void{})}
	socket := btf.FuncParam{Name: "sk", Type: pointer(&btf.Struct{Name: "sock"})}
	proto := func(params ...btf.FuncParam) btf.Type { return &btf.FuncProto{Return: &btf.Void{}, Params: params} }
	builder, err := btf.NewBuilder([]btf.Type{
		&btf.Typedef{Name: "btf_trace_one", Type: pointer(proto(context, socket))},
		&btf.Typedef{Name: "btf_trace_two", Type: pointer(proto(context, socket, socket))},
		&btf.Typedef{Name: "btf_trace_strange", Type: pointer(socket.Type)},
		&btf.Typedef{Name: "btf_trace_stranger", Type: &btf.Struct{Name: "sock"}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := builder.Spec()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"one": 1, "two": 2, "strange": 0, "stranger": 0, "none": 0} {
		if got := tracepoint.Arguments(kernel, name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

func TestTellsMisses(t *testing.T) {
	word := &btf.Int{Name: "u64_stats_t", Size: 8}
	old := &btf.Struct{Name: "bpf_prog_stats", Size: 16, Members: []btf.Member{{Name: "cnt", Type: word}, {Name: "nsecs", Type: word, Offset: 64}}}
	today := &btf.Struct{Name: "bpf_prog_stats", Size: 24, Members: append(old.Members[:2:2], btf.Member{Name: "misses", Type: word, Offset: 128})}
	for name, test := range map[string]struct {
		has  btf.Type
		want bool
	}{
		"5.11": {old, false}, "5.12": {today, true}, "without statistics": {&btf.Struct{Name: "sock"}, false},
	} {
		builder, err := btf.NewBuilder([]btf.Type{test.has}, nil)
		if err != nil {
			t.Fatal(err)
		}
		kernel, err := builder.Spec()
		if err != nil {
			t.Fatal(err)
		}
		if got := tracepoint.TellsMisses(kernel); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}
