//go:build ignore

// tcpretrans counts the TCP segments that targets send again, by flow.
//
// Hooks: the tracepoints tcp_retransmit_skb (kernel 4.15) and
// tcp_retransmit_synack (4.15) as BTF-enabled ones (5.5), once for the node; the
// ring buffer needs kernel 5.8. RetransSegs of /proc/net/snmp also counts segments
// that the node's own network stack then refused, by a firewall or a full queue.
// From 6.17 on the first tracepoint tells of those too, and they count here as well.
#include <asm-generic/errno.h>

#include "../include/twin.bpf.h"
#include "../packetparser/flow.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// retransmits is cumulative.
struct retransmits {
	__u64 segments;
};

// user space sets max_entries.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct flow_key);
	__type(value, struct retransmits);
	__uint(max_entries, 1);
} flows SEC(".maps");

// Segments that found no room in flows.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} lost SEC(".maps");

// What was sent again: a SCOPE_RETRANSMIT event's reason. Its detail is the number
// of segments.
enum retransmitted {
	RETRANSMITTED_DATA = 1, // or a FIN
	RETRANSMITTED_SYN = 2,
	RETRANSMITTED_SYNACK = 3,
};

#define STATE_SYN_SENT 2 // TCP_SYN_SENT
#define STATE_SYN_RECV 3
#define SOCK_BINDPORT_LOCK 8

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

// The TCP part of skb->cb, while a segment is in its socket's queue.
struct tcp_skb_cb {
	__u16 tcp_gso_segs;
};

struct sk_buff___cb {
	char cb[48];
};

struct sock___more {
	__u32 sk_max_ack_backlog;
	__u8 sk_userlocks : 4;
};

struct inet_bind_bucket {
	signed char fastreuse;
};

struct inet_connection_sock {
	struct inet_bind_bucket *icsk_bind_hash;
};

struct request_sock;

#pragma clang attribute pop

// An enum's type is part of the object's BTF only if something has it.
enum role *const role_type __attribute__((unused)) = 0;
enum retransmitted *const retransmitted_type __attribute__((unused)) = 0;

// socket_role asks the socket who has opened the connection. An accepted socket
// is a copy of the listening one: it keeps the argument of its listen(), which a
// socket that connects never has, but not the mark that bind() has given it a port
// (sk_clone_lock). A port that connect() has chosen is marked too
// (__inet_hash_connect). What is left are sockets accepted after listen(0), and
// those that were bound to an address alone: for them the lower port is the server's.
static __always_inline enum role socket_role(const struct sock *sk, const struct tuple *tuple)
{
	struct inet_bind_bucket *bucket = BPF_CORE_READ((struct inet_connection_sock *)sk, icsk_bind_hash);
	struct sock___more *more = (struct sock___more *)sk;

	if (BPF_CORE_READ(more, sk_max_ack_backlog))
		return ROLE_SERVER;
	if (BPF_CORE_READ_BITFIELD_PROBED(more, sk_userlocks) & SOCK_BINDPORT_LOCK)
		return ROLE_CLIENT;
	if (bucket && BPF_CORE_READ(bucket, fastreuse) == -1)
		return ROLE_CLIENT;
	return role_by_ports(tuple);
}

static __always_inline void count(const struct flow_key *key, __u32 segments)
{
	struct retransmits *known = bpf_map_lookup_elem(&flows, key);
	struct retransmits none = {};
	__u32 zero = 0;
	__u64 *missed;

	if (!known) {
		bpf_map_update_elem(&flows, key, &none, BPF_NOEXIST); // another CPU may be first
		known = bpf_map_lookup_elem(&flows, key);
	}
	if (known) {
		__sync_fetch_and_add(&known->segments, segments);
		return;
	}
	missed = bpf_map_lookup_elem(&lost, &zero);
	if (missed)
		__sync_fetch_and_add(missed, segments);
}

static __always_inline void report(__u32 target, const struct tuple *tuple, enum retransmitted what, __u32 segments)
{
	struct scope_event *event = scope_reserve(SCOPE_RETRANSMIT, target);

	if (!event)
		return;
	set_ends(event, tuple, SCOPE_OUT);
	event->reason = what;
	event->detail = segments;
	bpf_ringbuf_submit(event, 0);
}

// sent_again counts an skb, which may be several segments.
static __always_inline void sent_again(struct sock *sk, struct sk_buff *skb)
{
	enum retransmitted what = RETRANSMITTED_DATA;
	struct tuple tuple = {};
	struct flow_key key;
	__u32 target, segments;
	struct tcp_skb_cb *cb;
	__u8 state;

	if (!target_of(sk->__sk_common.skc_net.net->ns.inum, &target) || !scope_is_running())
		return;
	if (!read_socket(sk, &tuple))
		return;
	cb = (struct tcp_skb_cb *)__builtin_preserve_access_index(&((struct sk_buff___cb *)skb)->cb);
	segments = BPF_CORE_READ(cb, tcp_gso_segs);
	if (!segments)
		segments = 1;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == STATE_SYN_SENT)
		what = RETRANSMITTED_SYN;
	else if (state == STATE_SYN_RECV)
		what = RETRANSMITTED_SYNACK;
	make_key(&key, target, &tuple, socket_role(sk, &tuple));
	count(&key, segments);
	report(target, &tuple, what, segments);
}

// trace_tcp_retransmit_skb(sk, skb), before 6.17: it was sent.
static __always_inline void on_skb(__u64 *ctx)
{
	sent_again((struct sock *)ctx[0], (struct sk_buff *)ctx[1]);
}

// trace_tcp_retransmit_skb(sk, skb, err), from 6.17 on: it should have been sent.
static __always_inline void on_skb_or_error(__u64 *ctx)
{
	switch ((int)ctx[2]) {
	// With these errors __tcp_retransmit_skb() has given up before it counted.
	case -EBUSY: // the first copy has not left the node yet
	case -EAGAIN: // the receiver has no room
	case -ENOMEM:
	case -EINVAL:
	case -EHOSTUNREACH:
		return;
	}
	sent_again((struct sock *)ctx[0], (struct sk_buff *)ctx[1]);
}

// trace_tcp_retransmit_synack(sk, req): the answer to a SYN, sent again by a
// listening socket. RetransSegs counts it too.
static __always_inline void on_synack(__u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct request_sock *request = (struct request_sock *)ctx[1];
	struct tuple tuple = {};
	struct flow_key key;
	__u32 target;

	if (!target_of(sk->__sk_common.skc_net.net->ns.inum, &target) || !scope_is_running())
		return;
	// A request begins with a sock_common, as a socket does.
	if (!read_socket((struct sock *)request, &tuple))
		return;
	make_key(&key, target, &tuple, ROLE_SERVER);
	count(&key, 1);
	report(target, &tuple, RETRANSMITTED_SYNACK, 1);
}

// Of the first two only one is attached.
WITH_TWIN("tp_btf/tcp_retransmit_skb", tcpretrans_skb, 0, on_skb)
WITH_TWIN("tp_btf/tcp_retransmit_skb", tcpretrans_skb_or_error, 0, on_skb_or_error)
WITH_TWIN("tp_btf/tcp_retransmit_synack", tcpretrans_synack, 1, on_synack)
