//go:build linux

package dropreason

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/dropreason"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestReasonNames(t *testing.T) {
	r := &reasons{names: map[uint32]string{}, notDropped: noReason, consumed: noReason, netfilter: noReason, modules: true}
	r.addCore(&btf.Enum{Name: "skb_drop_reason", Values: []btf.EnumValue{
		{Name: "SKB_NOT_DROPPED_YET", Value: 0}, {Name: "SKB_CONSUMED", Value: 1}, {Name: "SKB_DROP_REASON_NOT_SPECIFIED", Value: 2},
		{Name: "SKB_DROP_REASON_NO_SOCKET", Value: 3}, {Name: "SKB_DROP_REASON_NETFILTER_DROP", Value: 9},
		{Name: "SKB_DROP_REASON_MAX", Value: 10}, {Name: "SKB_DROP_REASON_SUBSYS_MASK", Value: 0xffff0000},
	}})
	if r.notDropped != 0 || r.consumed != 1 || r.netfilter != 9 {
		t.Errorf("numbers are %d, %d, %d", r.notDropped, r.consumed, r.netfilter)
	}
	r.names[0x20001] = "OVS_DROP_LAST_ACTION"
	for number, want := range map[uint32]string{
		2: "NOT_SPECIFIED", 3: "NO_SOCKET", 9: "NETFILTER_DROP", 10: "REASON_10",
		0x20001: "OVS_DROP_LAST_ACTION", 0x20003: "SUBSYS_2_3", 0xffff0000: "SUBSYS_65535_0",
	} {
		if got := r.name(number); got != want {
			t.Errorf("reason %d is %s, want %s", number, got, want)
		}
	}
}

const kallsyms = `0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000000 T an_alias
ffffffff81000100 t __pfx_ip_rcv
ffffffff81000110 T ip_rcv.constprop.0
ffffffff81000200 d some_data
ffffffff81000210 W ip_local_deliver
not a symbol
ffffffffc0000000 t nft_do_chain	[nf_tables]
ffffffff81000300 T nf_hook_slow
`

func TestSymbols(t *testing.T) {
	s, err := parseSymbols(strings.NewReader(kallsyms))
	if err != nil {
		t.Fatal(err)
	}
	for returning, want := range map[uint64]string{
		0: "", 1: "", 0xffffffff81000000: "", // where no function begins before
		0xffffffff81000001: "_stext", 0xffffffff81000110: "_stext", 0xffffffff81000111: "ip_rcv",
		0xffffffff81000205: "ip_rcv", 0xffffffff81000300: "ip_local_deliver", 0xffffffff81000301: "nf_hook_slow",
		0xffffffff81000300 + maxFunction + 1: "", 0xffffffffc0000abc: "nft_do_chain",
	} {
		start, name := s.function(returning)
		if name != want {
			t.Errorf("%x is in %q, want %q", returning, name, want)
		}
		if s.named(start) != name {
			t.Errorf("%q begins at %x, where %q is", name, start, s.named(start))
		}
	}
	if begin, end := s.codeOf("ip_local_deliver"); begin != 0xffffffff81000210 || end != 0xffffffff81000300 {
		t.Errorf("ip_local_deliver is %x to %x", begin, end)
	}
	if begin, end := s.codeOf("nowhere"); begin != 0 || end != 0 {
		t.Errorf("nowhere is %x to %x", begin, end)
	}
}

func TestHiddenSymbols(t *testing.T) {
	s, err := parseSymbols(strings.NewReader("0000000000000000 T _stext\n0000000000000000 T ip_rcv\n"))
	if err != nil || len(s.addresses) != 0 {
		t.Errorf("%d symbols, %v", len(s.addresses), err)
	}
	if _, name := s.function(0xffffffff81000001); name != "" {
		t.Errorf("an unknown address is in %s", name)
	}
}

func FuzzSymbols(f *testing.F) {
	f.Add(kallsyms, uint64(0xffffffff81000111))
	f.Add("", uint64(0))
	f.Add("1 t a\n1 t b\n ffffffffffffffff w c.d\n", uint64(2))
	f.Fuzz(func(t *testing.T, text string, returning uint64) {
		s, err := parseSymbols(strings.NewReader(text))
		if err != nil {
			return
		}
		if !slices.IsSorted(s.addresses) || len(s.addresses) != len(s.ends) {
			t.Errorf("%d addresses, %d names, or not sorted", len(s.addresses), len(s.ends))
		}
		start, name := s.function(returning)
		if (start == 0) != (name == "") || start >= returning && name != "" || !strings.Contains(text, name) {
			t.Errorf("%x is in %q at %x", returning, name, start)
		}
		if begin, end := s.codeOf(name); name != "" && begin > end {
			t.Errorf("%q is %x to %x", name, begin, end)
		}
	})
}

func TestHookOf(t *testing.T) {
	tests := []struct {
		callers string
		want    string
	}{
		{"ip_rcv", "PREROUTING"}, {"ip_sublist_rcv ip_list_rcv", "PREROUTING"}, {"NF_HOOK ipv6_rcv", "PREROUTING"},
		{"ip_local_deliver ip_rcv", "INPUT"}, {"ip6_input", "INPUT"},
		{"ip_forward ip_rcv", "FORWARD"}, {"ip6_forward", "FORWARD"},
		{"br_nf_forward_ip nf_hook_slow", "FORWARD"}, {"br_nf_forward nf_hook_slow", "FORWARD"},
		{"br_nf_pre_routing br_handle_frame", "PREROUTING"}, {" br_handle_frame", "PREROUTING"},
		{"__ip_local_out ip_send_skb", "OUTPUT"}, {"ip6_xmit inet6_csk_xmit", "OUTPUT"},
		{"ip_output", "POSTROUTING"}, {"ip_mc_output", "POSTROUTING"}, {"ip6_output", "POSTROUTING"},
		{"__netif_receive_skb_core", "INGRESS"}, {"__dev_queue_xmit", "EGRESS"},
		{"", ""}, {"nf_queue something_else", ""},
	}
	for _, test := range tests {
		if got := hookOf(strings.Split(test.callers, " ")...).String(); got != test.want {
			t.Errorf("called by %s: %q, want %q", test.callers, got, test.want)
		}
	}
	if got := hook(99).String(); got != "" {
		t.Errorf("hook 99 is %q", got)
	}
}

// TestResolve has two places in one function become one key, but not two hooks.
func TestResolve(t *testing.T) {
	s, err := parseSymbols(strings.NewReader(kallsyms))
	if err != nil {
		t.Fatal(err)
	}
	n := &names{symbols: s, reasons: &reasons{netfilter: 9}}
	key := func(reason uint32, location, caller uint64) bpf.DropreasonDropKey {
		k := bpf.DropreasonDropKey{Reason: reason, Location: location, Callers: [2]uint64{caller}}
		n.resolve(&k)
		return k
	}
	const slow, deliver, rcv = 0xffffffff81000310, 0xffffffff81000220, 0xffffffff81000120
	if a, b := key(9, slow, deliver), key(9, slow+8, deliver+8); a != b {
		t.Errorf("%+v and %+v", a, b)
	}
	if a, b := key(9, slow, deliver), key(9, slow, rcv); a == b {
		t.Errorf("two hooks are %+v", a)
	}
	if a, b := key(3, slow, deliver), key(3, slow, rcv); a != b {
		t.Errorf("%+v and %+v", a, b)
	}
}

func TestOlderKernelsLackSomething(t *testing.T) {
	for arguments, want := range map[uint32]string{2: "tells no reasons", 3: "TCP socket's queue", 4: ""} {
		p := &Plugin{reasons: &reasons{arguments: arguments, tellsMisses: true}, names: &names{}}
		p.readNames()
		if want == "" {
			if slices.ContainsFunc(p.missing, func(e wire.PluginError) bool { return strings.Contains(e.Hint, "Linux") }) {
				t.Errorf("%d arguments: %+v", arguments, p.missing)
			}
			continue
		}
		if len(p.missing) == 0 || !strings.Contains(p.missing[0].Cause, want) || !p.missing[0].Partial || p.missing[0].Plugin != Name || p.missing[0].Hint == "" {
			t.Errorf("%d arguments: %+v", arguments, p.missing)
		}
	}
	p := &Plugin{reasons: &reasons{arguments: 4}, names: &names{}}
	p.readNames()
	if !slices.ContainsFunc(p.missing, func(e wire.PluginError) bool { return e.Partial && strings.Contains(e.Hint, "Linux 5.12") }) {
		t.Errorf("without the count of misses: %+v", p.missing)
	}
}

func TestCiliumReasons(t *testing.T) {
	seen := map[string]bool{}
	for number := range 256 {
		name := ciliumReason(uint8(number))
		if seen[name] || !strings.HasPrefix(name, "CILIUM_") || name != strings.ToUpper(name) {
			t.Errorf("reason %d is %s", number, name)
		}
		seen[name] = true
		known := number >= ciliumFirstDrop && number <= 206 && number != 159
		if known == (name == fmt.Sprintf("CILIUM_%d", number)) {
			t.Errorf("reason %d is %s", number, name)
		}
	}
	for number, want := range map[uint8]string{0: "CILIUM_0", 129: "CILIUM_129", 133: "CILIUM_POLICY_DENIED", 181: "CILIUM_POLICY_DENY", 207: "CILIUM_207"} {
		if got := ciliumReason(number); got != want {
			t.Errorf("reason %d is %s, want %s", number, got, want)
		}
	}
}
