// What every metrics program shares: which targets there are, whether counting
// has begun, and a ring of events. Package internal/plugin/scope creates these maps
// and fills them; a program that includes this header gets the same ones.
#pragma once

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

// SCOPE_NODE marks the node's own netns in scope_netns when the node is no target.
#define SCOPE_NODE 0xffffffff

// The targets by netns (inode number). What happens in a netns that is not here
// belongs to another node, or to no target.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u32); // Target.ID, or SCOPE_NODE
	__uint(max_entries, 2048);
} scope_netns SEC(".maps");

struct scope_address {
	__u8 bytes[16]; // IPv4 as IPv4-mapped
};

// The pods that are targets, by address: for what the node's own netns does with
// their packets.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct scope_address);
	__type(value, __u32); // Target.ID
	__uint(max_entries, 8192);
} scope_addresses SEC(".maps");

// 0 until go: programs are attached before the nodes start together.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} scope_running SEC(".maps");

enum scope_direction {
	SCOPE_UNKNOWN = 0,
	SCOPE_IN = 1, // towards the target
	SCOPE_OUT = 2,
	SCOPE_FORWARD = 3,
};

enum scope_event_kind {
	SCOPE_DROP = 1,
	SCOPE_RESET = 2,
	SCOPE_RETRANSMIT = 3,
	SCOPE_DNS = 4,
	SCOPE_CONNECT = 5,
};

// scope_event is one event. Ports are in network order; of an event without
// addresses, family is 0.
struct scope_event {
	__u64 monotonic_ns;
	__u64 function; // address of the kernel's function, or 0
	__u32 target;
	__u32 reason; // by kind: the plugin knows
	__u8 source[16];
	__u8 destination[16];
	__be16 source_port;
	__be16 destination_port;
	__u8 kind;
	__u8 protocol;
	__u8 direction;
	__u8 family; // AF_INET, AF_INET6 or 0
	__u32 detail; // by kind
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} scope_events SEC(".maps");

// scope_limit is a token bucket for events, one for each CPU.
struct scope_limit {
	__u64 refilled_ns;
	__u64 tokens;     // in 1/1000 of an event
	__u64 suppressed; // events that found no token, or no room in the ring
	__u64 per_second; // set by user space; 0: nobody wants events
	__u64 kinds;	  // set by user space: bit k for each kind k that is wanted
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct scope_limit);
	__uint(max_entries, 1);
} scope_limits SEC(".maps");

// scope_types are never read: they make their types part of each object's BTF.
struct scope_event *const scope_event_type __attribute__((unused)) = 0;
struct scope_address *const scope_address_type __attribute__((unused)) = 0;

static __always_inline bool scope_is_running(void)
{
	__u32 zero = 0;
	__u32 *running = bpf_map_lookup_elem(&scope_running, &zero);

	return running && *running;
}

// scope_reserve returns an empty event to be filled and given to
// bpf_ringbuf_submit, or NULL when nobody wants it or there have been too many.
static __always_inline struct scope_event *scope_reserve(enum scope_event_kind kind, __u32 target)
{
	__u32 zero = 0;
	struct scope_limit *limit = bpf_map_lookup_elem(&scope_limits, &zero);
	struct scope_event *event;
	__u64 now, elapsed, most;

	// Before the bucket: what nobody wants takes no token from what somebody does.
	if (!limit || !limit->per_second || !(limit->kinds & (1ULL << kind)))
		return NULL;
	now = bpf_ktime_get_ns();
	most = limit->per_second * 1000;
	elapsed = now - limit->refilled_ns;
	if (elapsed > 1000000000)
		elapsed = 1000000000;
	// Whole tokens only move the clock: at a high rate of calls nothing is lost
	// by rounding.
	if (elapsed * limit->per_second >= 1000000) {
		limit->tokens += elapsed * limit->per_second / 1000000;
		if (limit->tokens > most)
			limit->tokens = most;
		limit->refilled_ns = now;
	}
	if (limit->tokens < 1000) {
		limit->suppressed++;
		return NULL;
	}
	event = bpf_ringbuf_reserve(&scope_events, sizeof(*event), 0);
	if (!event) {
		limit->suppressed++;
		return NULL;
	}
	limit->tokens -= 1000;
	__builtin_memset(event, 0, sizeof(*event));
	event->monotonic_ns = now;
	event->kind = kind;
	event->target = target;
	return event;
}

static __always_inline void scope_map_v4(__u8 *to, __be32 from)
{
	__builtin_memset(to, 0, 10);
	to[10] = 0xff;
	to[11] = 0xff;
	__builtin_memcpy(to + 12, &from, 4);
}
