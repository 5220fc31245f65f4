package wire_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestFilterSpecIsValidated(t *testing.T) {
	one := []wire.FilterInstruction{{Op: 6, K: 1}}
	addr := wire.FilterAddress{Addr: netip.MustParseAddr("192.0.2.1"), Objects: 1}
	for name, tt := range map[string]struct {
		filter wire.FilterSpec
		want   string // "": nothing is wrong
	}{
		"both links":         {wire.FilterSpec{Ethernet: one, Raw: one, Objects: wire.MaxFilterObjects, Addresses: []wire.FilterAddress{addr}}, ""},
		"only raw":           {wire.FilterSpec{Raw: one}, ""},
		"longest":            {wire.FilterSpec{Ethernet: make([]wire.FilterInstruction, wire.MaxFilterInstructions)}, ""},
		"most addresses":     {wire.FilterSpec{Raw: one, Addresses: many(addr, wire.MaxFilterAddresses)}, ""},
		"nothing":            {wire.FilterSpec{NoRaw: "why"}, "a filter without a program"},
		"too long":           {wire.FilterSpec{Ethernet: make([]wire.FilterInstruction, wire.MaxFilterInstructions+1)}, "filter has 4097 instructions, want at most 4096"},
		"too long for raw":   {wire.FilterSpec{Ethernet: one, Raw: make([]wire.FilterInstruction, 5000)}, "filter has 5000 instructions, want at most 4096"},
		"negative objects":   {wire.FilterSpec{Raw: one, Objects: -1}, "filter has -1 objects"},
		"too many objects":   {wire.FilterSpec{Raw: one, Objects: 33}, "filter has 33 objects, want at most 32"},
		"too many addresses": {wire.FilterSpec{Raw: one, Addresses: many(addr, wire.MaxFilterAddresses+1)}, "filter has 65537 addresses, want at most 65536"},
		"empty address":      {wire.FilterSpec{Raw: one, Addresses: []wire.FilterAddress{addr, {Objects: 1}}}, "a filter's address is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := wire.Spec{Version: wire.Version, RunID: "a", MaxSeconds: 1, Packets: &wire.PacketsSpec{
				SnapLen: 100, RingBytes: wire.MinRingBytes, Follow: true, Filter: &tt.filter,
			}}
			wantError(t, spec.Validate(), tt.want)
		})
	}
}

func TestChangesAreValidated(t *testing.T) {
	addr := wire.FilterAddress{Addr: netip.MustParseAddr("2001:db8::1")}
	for name, tt := range map[string]struct {
		changes interface{ Validate() error }
		want    string
	}{
		"no addresses":       {&wire.Addresses{}, ""},
		"most addresses":     {&wire.Addresses{Changes: many(addr, wire.MaxAddressChanges)}, ""},
		"too many addresses": {&wire.Addresses{Changes: many(addr, wire.MaxAddressChanges+1)}, "8193 changes of addresses, want at most 8192"},
		"empty address":      {&wire.Addresses{Changes: many(wire.FilterAddress{Objects: 1}, 1)}, "a filter's address is empty"},
		"targets":            {&wire.Targets{Add: []wire.Target{{ID: 1, PodUID: "u"}, {ID: 2, Node: true}}, Remove: []uint32{1, 1, 9}}, ""},
		"too many targets":   {&wire.Targets{Add: many(wire.Target{PodUID: "u"}, wire.MaxTargets+1)}, "1025 targets, want at most 1024"},
		"target twice":       {&wire.Targets{Add: many(wire.Target{ID: 7, PodUID: "u"}, 2)}, "target ID 7 is used twice"},
		"pod and node":       {&wire.Targets{Add: []wire.Target{{Name: "x", PodUID: "u", Node: true}}}, `target "x" must be a pod or a node`},
		"neither":            {&wire.Targets{Add: []wire.Target{{Name: "x"}}}, `target "x" must be a pod or a node`},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, tt.changes.Validate(), tt.want) })
	}
}

func many[T any](one T, count int) []T {
	all := make([]T, count)
	for i := range all {
		all[i] = one
	}
	return all
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("error %v, want %q", err, want)
	}
}
