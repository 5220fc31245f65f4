// What packetparser and tcpretrans share: how a flow is named, and how the kernel's
// sockets are read.
#pragma once

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "../include/kernel.bpf.h"
#include "../include/scope.bpf.h"

#define FAMILY_IPV4 2 // AF_INET
#define FAMILY_IPV6 10
#define PROTOCOL_TCP 6

enum role {
	ROLE_UNKNOWN = 0,
	ROLE_CLIENT = 1, // the target has opened the connection, or asks
	ROLE_SERVER = 2,
};

// flow_key names a flow: see wire.FlowKey. IPv4 addresses are IPv4-mapped.
struct flow_key {
	__u8 local[16];
	__u8 remote[16];
	__u32 target;
	__u16 port; // the server's, host order; 0 without ports
	__u8 protocol;
	__u8 role;
};

// tuple is the two ends of a packet or a socket, seen from the target.
struct tuple {
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port; // host order
	__u16 remote_port;
	__u8 protocol;
	__u8 has_ports; // a fragment has none
	__u8 family;
	__u8 pad;
} __attribute__((aligned(8)));

static __always_inline bool same_address(const struct tuple *tuple)
{
	const __u64 *local = (const __u64 *)tuple->local, *remote = (const __u64 *)tuple->remote;

	return local[0] == remote[0] && local[1] == remote[1];
}

static __always_inline void make_key(struct flow_key *key, __u32 target, const struct tuple *tuple, enum role role)
{
	__builtin_memcpy(key->local, tuple->local, 16);
	__builtin_memcpy(key->remote, tuple->remote, 16);
	key->target = target;
	// Of an unknown role both ports are the same, or there are none.
	key->port = role == ROLE_CLIENT ? tuple->remote_port : tuple->local_port;
	key->protocol = tuple->protocol;
	key->role = role;
}

// role_by_ports is the rule for connections of which nothing else is known: the
// lower port is the server's.
static __always_inline enum role role_by_ports(const struct tuple *tuple)
{
	if (!tuple->has_ports || tuple->local_port == tuple->remote_port)
		return ROLE_UNKNOWN;
	return tuple->local_port < tuple->remote_port ? ROLE_SERVER : ROLE_CLIENT;
}

// target_of returns whether a netns is a target's, and which.
static __always_inline bool target_of(unsigned int inum, __u32 *target)
{
	__u32 key = inum;
	__u32 *found = bpf_map_lookup_elem(&scope_netns, &key);

	if (!found || *found == SCOPE_NODE)
		return false;
	*target = *found;
	return true;
}

// read_socket fills in the ends of a TCP socket: a full one, a request, or one
// in TIME_WAIT, which all begin with a sock_common. It returns false when that is
// not IP.
static __always_inline bool read_socket(const struct sock *sk, struct tuple *tuple)
{
	__be16 port = 0;

	tuple->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (tuple->family == FAMILY_IPV4) {
		scope_map_v4(tuple->local, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		scope_map_v4(tuple->remote, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	} else if (tuple->family == FAMILY_IPV6) {
		bpf_core_read(tuple->local, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(tuple->remote, 16, &sk->__sk_common.skc_v6_daddr);
	} else {
		return false;
	}
	tuple->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	port = BPF_CORE_READ(sk, __sk_common.skc_dport);
	tuple->remote_port = bpf_ntohs(port);
	tuple->protocol = PROTOCOL_TCP;
	tuple->has_ports = true;
	return true;
}

// set_ends fills in who sends to whom.
static __always_inline void set_ends(struct scope_event *event, const struct tuple *tuple, enum scope_direction direction)
{
	bool out = direction == SCOPE_OUT;

	__builtin_memcpy(event->source, out ? tuple->local : tuple->remote, 16);
	__builtin_memcpy(event->destination, out ? tuple->remote : tuple->local, 16);
	event->source_port = bpf_htons(out ? tuple->local_port : tuple->remote_port);
	event->destination_port = bpf_htons(out ? tuple->remote_port : tuple->local_port);
	event->direction = direction;
	event->protocol = tuple->protocol;
	event->family = tuple->family;
}
