// The tables that user space reads, and counting in them.
#pragma once

#include "../include/scope.bpf.h"

enum place {
	ON_POD = 1, // the target's own netns
	ON_NODE = 2,
};

// A range of code: a return address into a function is above begin and not above
// end.
struct code {
	__u64 begin, end;
};

struct drop_config {
	// Where netfilter calls a hook's functions: nf_hook_slow and
	// nf_hook_slow_list, or zeros.
	struct code hooks[2];
	// Where sockets are emptied when they are closed, for kernels that have no
	// reason for it, or zeros.
	struct code purges[3];
	// Where TCP frees what it has used, on kernels with reasons, or zeros.
	struct code used[3];
	__u64 host_netns;  // inode number of the node's own
	__u32 arguments;   // of the tracepoint: 2, 3 or 4
	__u32 not_dropped; // reasons, or the highest number where the kernel has no such
	__u32 consumed;
	__u32 netfilter;
	__u32 unspecified; // for kernels without reasons
	// What a socket had not read when it was closed: most often the peer's FIN. No
	// packet was on its way to anybody.
	__u32 queue_purge; // purges tell on kernels that have no such reason
	__u32 not_specified; // or unspecified
	__u32 other_host; // for somebody else: a bridge floods what it knows no port of
	__u32 no_socket;
};

volatile const struct drop_config config = {};

struct drop_key {
	__u64 location; // where it was freed: a return address
	// Who called netfilter, and who called that one: only of packets that
	// netfilter dropped.
	__u64 callers[2];
	__u32 target;
	__u32 reason;
	__u8 source[16]; // IPv4 as IPv4-mapped
	__u8 destination[16];
	__be16 source_port;
	__be16 destination_port;
	__u8 family; // AF_INET, AF_INET6 or 0: then there are no addresses
	__u8 protocol;
	__u8 direction; // enum scope_direction
	__u8 on;        // enum place
};

struct drop_count {
	__u64 packets;
	__u64 bytes; // from the network header on
};

// Two tables, of which one is active: user space empties the other one when no
// program can be writing to it any more, so that no count is lost.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct drop_key);
	__type(value, struct drop_count);
	__uint(max_entries, 64); // user space sets it
} drops_even SEC(".maps"), drops_odd SEC(".maps");

// Drops that found the active table full: a key has target, reason and place only.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct drop_key);
	__type(value, struct drop_count);
	__uint(max_entries, 16384);
} overflow SEC(".maps");

// The number of flips so far: its lowest bit is the active table.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} flips SEC(".maps");

enum drop_lost {
	WITHOUT_ADDRESSES = 0, // packets in overflow
	NOT_COUNTED = 1,       // packets that found no room there either
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 2);
} lost SEC(".maps");

struct drop_key *const drop_key_type __attribute__((unused)) = 0;
struct drop_count *const drop_count_type __attribute__((unused)) = 0;
enum drop_lost *const drop_lost_type __attribute__((unused)) = 0;
enum place *const place_type __attribute__((unused)) = 0;
enum scope_direction *const direction_type __attribute__((unused)) = 0;

// add counts a packet in one table. It returns false when there is no room.
static __always_inline bool add(void *table, struct drop_key *key, __u64 bytes)
{
	struct drop_count *count = bpf_map_lookup_elem(table, key);

	if (!count) {
		struct drop_count none = {};

		// Another CPU may have been faster: the lookup tells.
		bpf_map_update_elem(table, key, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(table, key);
		if (!count)
			return false;
	}
	__sync_fetch_and_add(&count->packets, 1);
	__sync_fetch_and_add(&count->bytes, bytes);
	return true;
}

static __always_inline void count(struct drop_key *key, __u64 bytes)
{
	struct drop_key rest = {};
	__u32 zero = 0;
	__u32 *flip = bpf_map_lookup_elem(&flips, &zero);
	__u32 what = WITHOUT_ADDRESSES;
	__u64 *missed;

	if (!flip)
		return;
	if (*flip & 1) {
		if (add(&drops_odd, key, bytes))
			return;
	} else {
		if (add(&drops_even, key, bytes))
			return;
	}
	rest.target = key->target;
	rest.reason = key->reason;
	rest.on = key->on;
	if (!add(&overflow, &rest, bytes))
		what = NOT_COUNTED;
	missed = bpf_map_lookup_elem(&lost, &what);
	if (missed)
		__sync_fetch_and_add(missed, 1);
}
