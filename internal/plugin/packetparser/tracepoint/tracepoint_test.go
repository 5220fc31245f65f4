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
