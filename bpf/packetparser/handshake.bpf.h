// TCP handshakes: how long they take, and which fail.
#pragma once

#include "parse.bpf.h"
#include "roles.bpf.h"

#define UNANSWERED_NS 3000000000ULL
#define NS_PER_US 1000

// What a SCOPE_CONNECT event's reason says.
enum connect_reason {
	CONNECT_REFUSED = 1,
	CONNECT_TIMEOUT = 2,
};

struct handshake_key {
	__u8 client[16];
	__u8 server[16];
	__u32 target;
	__u16 client_port; // host order
	__u16 server_port;
};

struct handshake {
	__u64 syn_ns; // CLOCK_MONOTONIC, of the first SYN
	__u32 isn;    // its sequence number: a SYN with the same one is that SYN again
	__u8 role;    // of the target
	__u8 family;
	__u8 unanswered; // counted as such
	__u8 pad;
};

// Handshakes that wait for an answer. Whoever deletes an entry, a program or user
// space, is the one to count it.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct handshake_key);
	__type(value, struct handshake);
	__uint(max_entries, 1);
} pending SEC(".maps");

// Handshakes that have been counted, so that a late copy of their SYN does not
// begin another. The least recently used makes room: what is forgotten too early
// counts again only if its SYN comes again.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct handshake_key);
	__type(value, struct handshake);
	__uint(max_entries, 1);
} settled SEC(".maps");

static __always_inline void handshake_of(struct handshake_key *key, __u32 target, const struct tuple *t, enum role role)
{
	bool client = role == ROLE_CLIENT;

	__builtin_memcpy(key->client, client ? t->local : t->remote, 16);
	__builtin_memcpy(key->server, client ? t->remote : t->local, 16);
	key->target = target;
	key->client_port = client ? t->local_port : t->remote_port;
	key->server_port = client ? t->remote_port : t->local_port;
}

// on_syn starts the clock, unless it runs already or has been stopped.
static __always_inline void on_syn(const struct handshake_key *key, const struct packet *p, enum role role)
{
	struct handshake handshake = {
		.isn = p->seq,
		.role = role,
		.family = p->tuple.family,
	};
	struct handshake *known = bpf_map_lookup_elem(&pending, key);
	struct lost *lost;

	if (known && known->isn == p->seq)
		return;
	if (!known) {
		known = bpf_map_lookup_elem(&settled, key);
		if (known && known->isn == p->seq)
			return;
	}
	handshake.syn_ns = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&pending, key, &handshake, BPF_ANY) == 0)
		return;
	lost = lost_counts();
	if (lost)
		add(&lost->handshakes, 1);
}

static __always_inline void opened(__u32 target, struct flow *flow, __u64 us)
{
	struct latency *latency = bpf_map_lookup_elem(&latencies, &target);

	if (flow) {
		add(&flow->opened, 1);
		add_time(&flow->connect, us);
	}
	if (latency)
		add_to_histogram(&latency->connect, us);
}

// report tells of a connection that was not established: from the client to
// the server.
static __always_inline void report(__u32 target, const struct packet *p, enum role role, enum connect_reason reason)
{
	struct scope_event *event = scope_reserve(SCOPE_CONNECT, target);

	if (!event)
		return;
	set_ends(event, &p->tuple, role == ROLE_CLIENT ? SCOPE_OUT : SCOPE_IN);
	event->reason = reason;
	bpf_ringbuf_submit(event, 0);
}

// settle takes a handshake out of pending. It returns false when somebody else
// has done so.
static __always_inline bool settle(const struct handshake_key *key, struct handshake *copy)
{
	struct handshake *known = bpf_map_lookup_elem(&pending, key);

	if (!known)
		return false;
	*copy = *known;
	if (bpf_map_delete_elem(&pending, key))
		return false;
	return true;
}

// on_synack stops the clock. A handshake that took longer than 3 s was
// unanswered before it opened, and counts as both.
static __always_inline void on_synack(const struct handshake_key *key, const struct packet *p, enum role role,
				      struct flow *flow)
{
	struct handshake handshake, *late;
	__u64 now = bpf_ktime_get_ns();

	if (settle(key, &handshake)) {
		if (now - handshake.syn_ns >= UNANSWERED_NS) {
			if (flow)
				add(&flow->unanswered, 1);
			report(key->target, p, role, CONNECT_TIMEOUT);
		}
		handshake.unanswered = false;
		bpf_map_update_elem(&settled, key, &handshake, BPF_ANY);
		opened(key->target, flow, (now - handshake.syn_ns) / NS_PER_US);
		return;
	}
	late = bpf_map_lookup_elem(&settled, key);
	if (late && late->unanswered && p->ack - late->isn - 1 < 0xffff) {
		late->unanswered = false;
		opened(key->target, flow, (now - late->syn_ns) / NS_PER_US);
	}
}

// on_reset is for a reset that answers a SYN.
static __always_inline void on_reset(const struct handshake_key *key, const struct packet *p, enum role role,
				     struct flow *flow)
{
	struct handshake handshake;
	bool late;

	if (!settle(key, &handshake))
		return;
	late = bpf_ktime_get_ns() - handshake.syn_ns >= UNANSWERED_NS;
	if (flow)
		add(late ? &flow->unanswered : &flow->refused, 1);
	report(key->target, p, role, late ? CONNECT_TIMEOUT : CONNECT_REFUSED);
	handshake.unanswered = false;
	bpf_map_update_elem(&settled, key, &handshake, BPF_ANY);
}
