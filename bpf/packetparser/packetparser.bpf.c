//go:build ignore

// packetparser counts the packets of targets by flow, and measures handshakes
// and round trips.
//
// Hooks: TCX (kernel 6.6, two programs of BPF_PROG_TYPE_SCHED_CLS) or the filter of
// a packet socket (one of BPF_PROG_TYPE_SOCKET_FILTER), on each interface; and the
// tracepoints tcp_probe (4.16), tcp_send_reset and tcp_receive_reset (4.15) as
// BTF-enabled ones (5.5), once for the node. The ring buffer needs kernel 5.8.
//
// One copy of the interface programs is loaded per interface, with its config; all
// copies share the maps. One skb counts as one packet, as in a capture: the
// kernel hands over many segments of a connection as one, and more_segments has
// the rest of them.
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include "handshake.bpf.h"
#include "resets.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct interface_config {
	__u32 target;
	__u8 raw; // packets begin with the IP header: no Ethernet header
	__u8 pad[3];
};

volatile const struct interface_config config = {};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct tcp_sock {
	__u32 srtt_us; // in 1/8 µs
};

#pragma clang attribute pop

// types that are not part of a map are made part of the object's BTF.
enum role *const role_type __attribute__((unused)) = 0;
enum connect_reason *const connect_reason_type __attribute__((unused)) = 0;
enum reset_reason *const reset_reason_type __attribute__((unused)) = 0;

// count_flags counts a SYN with ACK as that only.
static __always_inline void count_flags(struct side *side, __u16 flags)
{
	enum { FIN, SYN, SYNACK, ACK, RST, PSH, URG, ECE, CWR, NS }; // wire.FlagFIN and so on

	if ((flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) {
		add(&side->flags[SYNACK], 1);
		return;
	}
#define COUNT(flag)             \
	if (flags & TCP_##flag) \
	add(&side->flags[flag], 1)
	COUNT(ACK);
	COUNT(PSH);
	COUNT(FIN);
	COUNT(SYN);
	COUNT(RST);
	COUNT(URG);
	COUNT(ECE);
	COUNT(CWR);
	COUNT(NS);
#undef COUNT
}

static __always_inline void count_packet(struct side *side, const struct packet *p)
{
	add(&side->packets, 1);
	add(&side->bytes, p->bytes);
	if (!p->flags)
		return; // not TCP, or a fragment
	count_flags(side, p->flags);
	if (p->segments > 1)
		add(&side->more_segments, p->segments - 1);
}

// Steps of a handshake.
enum step {
	STEP_NONE,
	STEP_SYN,
	STEP_SYNACK,
	STEP_RESET,
};

static __always_inline enum step step_of(const struct packet *p)
{
	if (p->tuple.protocol != IPPROTO_TCP || !p->tuple.has_ports)
		return STEP_NONE;
	if (p->flags & TCP_RST)
		return STEP_RESET;
	if (!(p->flags & TCP_SYN))
		return STEP_NONE;
	return p->flags & TCP_ACK ? STEP_SYNACK : STEP_SYN;
}

// handle_step counts a packet that is part of a handshake, whose role is known
// by what it is. It returns false for a reset that answers no SYN.
static __always_inline bool handle_step(const struct packet *p, enum step step, bool out)
{
	// Who sends a SYN is a client; who answers, by SYN-ACK or reset, is a server.
	enum role role = (step == STEP_SYN) == out ? ROLE_CLIENT : ROLE_SERVER;
	struct handshake_key handshake;
	struct flow_key key;
	struct flow *flow;

	handshake_of(&handshake, config.target, &p->tuple, role);
	if (step == STEP_RESET && !bpf_map_lookup_elem(&pending, &handshake) &&
	    !bpf_map_lookup_elem(&settled, &handshake))
		return false;
	if (step == STEP_SYNACK)
		learn_role(config.target, &p->tuple, role);
	make_key(&key, config.target, &p->tuple, role);
	flow = flow_of(&key);
	if (flow)
		count_packet(out ? &flow->out : &flow->in, p);
	if (step == STEP_SYN)
		on_syn(&handshake, p, role);
	else if (step == STEP_SYNACK)
		on_synack(&handshake, p, role, flow);
	else
		on_reset(&handshake, p, role, flow);
	return true;
}

static __always_inline void handle(struct __sk_buff *skb, const bool direct, bool out)
{
	struct packet p = {};
	struct flow_key key;
	struct flow *flow;
	enum step step;

	// A multicast packet's copy for this node itself comes without a link header.
	if (!scope_is_running() || skb->pkt_type == PACKET_LOOPBACK)
		return;
	if (!read_packet(skb, direct, config.raw, out, &p))
		return;
	step = step_of(&p);
	if (step != STEP_NONE && handle_step(&p, step, out))
		return;
	make_key(&key, config.target, &p.tuple, role_of(config.target, &p.tuple));
	flow = flow_of(&key);
	if (flow)
		count_packet(out ? &flow->out : &flow->in, &p);
}

SEC("tc")
int packetparser_ingress(struct __sk_buff *skb)
{
	handle(skb, true, false);
	return TC_ACT_UNSPEC; // TCX_NEXT: the others' programs decide
}

SEC("tc")
int packetparser_egress(struct __sk_buff *skb)
{
	handle(skb, true, true);
	return TC_ACT_UNSPEC;
}

SEC("socket")
int packetparser_socket(struct __sk_buff *skb)
{
	handle(skb, false, skb->pkt_type == PACKET_OUTGOING); // may not look into the packet itself
	return 0; // bytes for the socket, which nobody reads
}

// trace_tcp_probe(sk, skb): a segment arrives at an established connection.
SEC("tp_btf/tcp_probe")
int packetparser_rtt(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct latency *latency;
	struct tuple tuple = {};
	struct flow_key key;
	struct flow *flow;
	__u32 target;
	__u64 us;

	if (!target_of(sk->__sk_common.skc_net.net->ns.inum, &target) || !scope_is_running())
		return 0;
	us = BPF_CORE_READ((struct tcp_sock *)sk, srtt_us) >> 3;
	if (!us || !read_socket(sk, &tuple))
		return 0;
	// A connection of the target to itself crosses no interface.
	if (same_address(&tuple))
		return 0;
	latency = bpf_map_lookup_elem(&latencies, &target);
	if (latency)
		add_to_histogram(&latency->rtt, us);
	make_key(&key, target, &tuple, role_of(target, &tuple));
	flow = bpf_map_lookup_elem(&flows, &key);
	if (flow)
		add_time(&flow->rtt, us);
	return 0;
}
