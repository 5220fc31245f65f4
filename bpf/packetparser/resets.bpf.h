// Events for TCP resets that the node's own sockets send and receive.
#pragma once

#include "parse.bpf.h"

// What a SCOPE_RESET event's reason says. The detail of one that was sent is the
// kernel's reason (enum sk_rst_reason).
enum reset_reason {
	RESET_SENT = 1,
	RESET_RECEIVED = 2,
};

// read_answered fills in the ends of a segment that was received.
static __always_inline bool read_answered(const struct sk_buff *skb, struct tuple *tuple)
{
	unsigned char *head = BPF_CORE_READ(skb, head);
	unsigned char *network = head + BPF_CORE_READ(skb, network_header);
	struct tcp_head tcp = {};
	struct ipv6hdr v6 = {};
	struct iphdr v4 = {};

	if (bpf_probe_read_kernel(&v4, sizeof(v4), network))
		return false;
	if (v4.version == 4) {
		tuple->family = FAMILY_IPV4;
		scope_map_v4(tuple->local, v4.daddr);
		scope_map_v4(tuple->remote, v4.saddr);
	} else if (v4.version == 6 && !bpf_probe_read_kernel(&v6, sizeof(v6), network)) {
		tuple->family = FAMILY_IPV6;
		__builtin_memcpy(tuple->local, &v6.daddr, 16);
		__builtin_memcpy(tuple->remote, &v6.saddr, 16);
	} else {
		return false;
	}
	if (bpf_probe_read_kernel(&tcp, 4, head + BPF_CORE_READ(skb, transport_header)))
		return false;
	tuple->local_port = bpf_ntohs(tcp.dest);
	tuple->remote_port = bpf_ntohs(tcp.source);
	tuple->protocol = IPPROTO_TCP;
	return true;
}

// reset_sent finds the ends in the segment that was answered, if there is one: the
// socket may be a listening one.
static __always_inline int reset_sent(const struct sock *sk, const struct sk_buff *skb, __u32 why)
{
	unsigned int inum = 0;
	struct scope_event *event;
	struct tuple tuple = {};
	__u32 target;

	if (!scope_is_running())
		return 0;
	// Some kernels say that sk cannot be NULL although it is for a closed port.
	// Reading through it gives 0 then.
	if (sk)
		inum = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (!inum && skb)
		inum = BPF_CORE_READ(skb, dev, nd_net.net, ns.inum);
	if (!target_of(inum, &target))
		return 0;
	if (!(skb && read_answered(skb, &tuple)) && !(sk && read_socket(sk, &tuple)))
		return 0;
	event = scope_reserve(SCOPE_RESET, target);
	if (!event)
		return 0;
	set_ends(event, &tuple, SCOPE_OUT);
	event->reason = RESET_SENT;
	event->detail = why;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

// trace_tcp_send_reset(sk, skb, reason), from 6.10 on.
SEC("tp_btf/tcp_send_reset")
int packetparser_reset_sent_why(__u64 *ctx)
{
	return reset_sent((struct sock *)ctx[0], (struct sk_buff *)ctx[1], ctx[2]);
}

// trace_tcp_send_reset(sk, skb), before.
SEC("tp_btf/tcp_send_reset")
int packetparser_reset_sent(__u64 *ctx)
{
	return reset_sent((struct sock *)ctx[0], (struct sk_buff *)ctx[1], 0);
}

// trace_tcp_receive_reset(sk)
SEC("tp_btf/tcp_receive_reset")
int packetparser_reset_received(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct scope_event *event;
	struct tuple tuple = {};
	__u32 target;

	if (!target_of(sk->__sk_common.skc_net.net->ns.inum, &target) || !scope_is_running())
		return 0;
	if (!read_socket(sk, &tuple))
		return 0;
	event = scope_reserve(SCOPE_RESET, target);
	if (!event)
		return 0;
	set_ends(event, &tuple, SCOPE_IN);
	event->reason = RESET_RECEIVED;
	bpf_ringbuf_submit(event, 0);
	return 0;
}
