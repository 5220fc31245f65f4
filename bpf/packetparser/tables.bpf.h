// The tables of packetparser, and what is done to one entry.
#pragma once

#include "flow.bpf.h"

#define NUM_FLAGS 10    // wire.NumFlags
#define NUM_BUCKETS 124 // wire.NumBuckets

// times are wire.Times, in µs.
struct times {
	__u64 count;
	__u64 sum;
	__u64 max;
	__u64 last;
};

// side counts what goes in one direction.
struct side {
	__u64 packets;
	__u64 bytes;
	// TCP segments, less packets: a packet here may be many segments on the wire.
	__u64 more_segments;
	__u64 flags[NUM_FLAGS]; // indexes wire.FlagFIN and so on
};

// flow is cumulative. Many CPUs add to one at the same time.
struct flow {
	struct side in;
	struct side out;
	__u64 opened;
	__u64 unanswered; // without those that user space finds
	__u64 refused;
	struct times connect;
	struct times rtt;
};

struct histogram {
	__u64 sum;
	__u64 buckets[NUM_BUCKETS];
};

struct latency {
	struct histogram connect;
	struct histogram rtt;
};

// counts of what did not fit.
struct lost {
	__u64 flows;      // packets of flows that had no room
	__u64 handshakes; // that could not be followed
};

// user space sets max_entries of all but empty and lost.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct flow_key);
	__type(value, struct flow);
	__uint(max_entries, 1);
} flows SEC(".maps");

// One entry of zeros: a struct flow is too large for the stack.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct flow);
	__uint(max_entries, 1);
} empty SEC(".maps");

// By target; user space makes the entries.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct latency);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} latencies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct lost);
	__uint(max_entries, 1);
} losses SEC(".maps");

// add also counts what interrupts this CPU, and other CPUs, do.
static __always_inline void add(__u64 *to, __u64 n)
{
	__sync_fetch_and_add(to, n);
}

static __always_inline struct lost *lost_counts(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&losses, &zero);
}

// flow_of returns the entry of a flow and makes it if need be. NULL: it had no
// room, which is counted.
static __always_inline struct flow *flow_of(const struct flow_key *key)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, key);
	struct lost *lost;
	__u32 zero = 0;
	void *zeros;

	if (flow)
		return flow;
	zeros = bpf_map_lookup_elem(&empty, &zero);
	if (!zeros)
		return NULL;
	bpf_map_update_elem(&flows, key, zeros, BPF_NOEXIST); // another CPU may be first
	flow = bpf_map_lookup_elem(&flows, key);
	lost = lost_counts();
	if (!flow && lost)
		add(&lost->flows, 1);
	return flow;
}

// bucket_of is wire.Bucket.
static __always_inline __u32 bucket_of(__u64 us)
{
	__u32 v = us > 0xffffffff ? 0xffffffff : us;
	__u32 rest = v, log2 = 0;

	if (v < 4)
		return v;
	if (rest >= 1 << 16) {
		log2 += 16;
		rest >>= 16;
	}
	if (rest >= 1 << 8) {
		log2 += 8;
		rest >>= 8;
	}
	if (rest >= 1 << 4) {
		log2 += 4;
		rest >>= 4;
	}
	if (rest >= 1 << 2) {
		log2 += 2;
		rest >>= 2;
	}
	if (rest >= 1 << 1)
		log2 += 1;
	return (log2 - 1) * 4 + (v >> (log2 - 2) & 3);
}

static __always_inline void add_to_histogram(struct histogram *h, __u64 us)
{
	__u32 bucket = bucket_of(us);

	if (bucket >= NUM_BUCKETS) // never: for the verifier
		return;
	add(&h->sum, us);
	add(&h->buckets[bucket], 1);
}

// add_time does not mind that two CPUs may write max and last at once: one of
// two times that are the same age is as good as the other.
static __always_inline void add_time(struct times *t, __u64 us)
{
	add(&t->count, 1);
	add(&t->sum, us);
	t->last = us;
	if (us > t->max)
		t->max = us;
}
