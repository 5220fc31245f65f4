//go:build ignore

// dropreason counts the packets that the kernel throws away, by target, reason,
// function and addresses.
//
// Hook: the tracepoint kfree_skb, as BPF_PROG_TYPE_TRACING (tp_btf, kernel 5.5)
// or as a raw tracepoint. Its reason came with 5.17, its socket with 6.11; the
// config says which of them there are. Kernel structures are read by CO-RE.
#include "packet.bpf.h"
#include "tables.bpf.h"
#include "../include/twin.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// pod_at returns the target that has an address, or NULL.
static __always_inline __u32 *pod_at(const __u8 *bytes)
{
	return bpf_map_lookup_elem(&scope_addresses, bytes);
}

// attribute sets target, place and direction. It returns false for a packet that
// is of no target. A packet from one pod to another on the node counts as the
// sender's.
static __always_inline bool attribute(struct packet *p, struct drop_key *key)
{
	__u32 *found = bpf_map_lookup_elem(&scope_netns, &p->netns);
	bool on_node = p->netns == config.host_netns;
	__u32 *source = NULL, *destination = NULL;

	if (!found)
		return false;
	key->target = *found;
	key->on = on_node ? ON_NODE : ON_POD;
	if (key->family) {
		source = pod_at(key->source);
		destination = pod_at(key->destination);
	}
	if (on_node) {
		if (source) {
			key->target = *source;
			key->direction = SCOPE_OUT;
			return true;
		}
		if (destination) {
			key->target = *destination;
			key->direction = SCOPE_IN;
			return true;
		}
		if (key->target == SCOPE_NODE)
			return false;
	} else {
		bool from = source && *source == key->target;
		bool to = destination && *destination == key->target;

		if (from != to) {
			key->direction = from ? SCOPE_OUT : SCOPE_IN;
			return true;
		}
	}
	key->direction = direction_of(p, key->family);
	return true;
}

static __always_inline bool is_in(__u64 address, const volatile struct code *code)
{
	return address > code->begin && address <= code->end;
}

// is_purge tells what has the reason queue_purge on newer kernels.
static __always_inline bool is_purge(__u32 reason, __u64 location)
{
	if (reason != config.not_specified)
		return false;
	return is_in(location, &config.purges[0]) || is_in(location, &config.purges[1]) || is_in(location, &config.purges[2]);
}

// is_used tells what TCP has made use of and frees as if it had not: segments
// without data for a connection that is closing, and for one in TIME_WAIT.
static __always_inline bool is_used(__u32 reason, __u64 location)
{
	if (reason != config.not_specified)
		return false;
	return is_in(location, &config.used[0]) || is_in(location, &config.used[1]) || is_in(location, &config.used[2]);
}

// read_callers finds who called netfilter, which tells the hook. The function that
// dropped may be netfilter's own, or one that it called.
static __always_inline void read_callers(void *ctx, struct drop_key *key)
{
	__u64 stack[16] = {};

	if (bpf_get_stack(ctx, stack, sizeof(stack), 0) <= 0)
		return;
#pragma unroll
	for (int i = 0; i < 14; i++) {
		if (is_in(stack[i], &config.hooks[0]) || is_in(stack[i], &config.hooks[1])) {
			key->callers[0] = stack[i + 1];
			key->callers[1] = stack[i + 2];
			return;
		}
	}
}

static __always_inline void report(struct drop_key *key)
{
	struct scope_event *event = scope_reserve(SCOPE_DROP, key->target);

	if (!event)
		return;
	event->function = key->location;
	event->reason = key->reason;
	// The distance to netfilter's caller: both are in the kernel's text, less than
	// 2 GiB apart.
	if (key->callers[0])
		event->detail = key->callers[0] - key->location;
	__builtin_memcpy(event->source, key->source, 16);
	__builtin_memcpy(event->destination, key->destination, 16);
	event->source_port = key->source_port;
	event->destination_port = key->destination_port;
	event->protocol = key->protocol;
	event->direction = key->direction;
	event->family = key->family;
	bpf_ringbuf_submit(event, 0);
}

static __always_inline bool is_multicast(struct drop_key *key)
{
	if (key->family == FAMILY_V6)
		return key->destination[0] == 0xff;
	return key->family == FAMILY_V4 && (key->destination[12] & 0xf0) == 0xe0;
}

// is_pong tells an answer to a ping. What waits for it with a raw socket, as ping of
// root does, has its own copy, and then the kernel frees what no ping socket wants.
static __always_inline bool is_pong(struct drop_key *key)
{
	return key->reason == config.no_socket && (key->protocol == IPPROTO_ICMP || key->protocol == IPPROTO_ICMPV6);
}

static __always_inline void handle(__u64 *ctx)
{
	struct drop_key key = {};
	struct packet p = {};

	key.reason = config.unspecified;
	if (config.arguments >= 3)
		key.reason = ctx[2];
	else if (is_in(ctx[1], &config.hooks[0])) // it frees nothing but what it drops
		key.reason = config.netfilter;
	if (key.reason == config.not_dropped || key.reason == config.consumed || key.reason == config.queue_purge)
		return;
	if (key.reason == config.other_host || is_purge(key.reason, ctx[1]) || is_used(key.reason, ctx[1]) || !scope_is_running())
		return;
	p.skb = (void *)ctx[0];
	if (config.arguments >= 4)
		p.rx_sk = (void *)ctx[3];
	p.netns = netns_of(p.skb, p.rx_sk);
	locate(&p);
	read_tuple(&p, &key);
	// Multicast that nobody here listens to, as every host gets it.
	if (key.reason == config.not_specified && is_multicast(&key))
		return;
	if (is_pong(&key) || !attribute(&p, &key))
		return;
	key.location = ctx[1];
	if (key.reason == config.netfilter)
		read_callers(ctx, &key);
	count(&key, p.bytes);
	report(&key);
}

// Of the two only one is attached, with its twin.
WITH_TWIN("tp_btf/kfree_skb", dropreason_btf, 0, handle)
WITH_TWIN("raw_tp/kfree_skb", dropreason_raw, 0, handle)
