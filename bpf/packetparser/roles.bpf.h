// Who is the server of a TCP connection.
#pragma once

#include "tables.bpf.h"

// server_port is a port that is a server's although it is not the lower one of
// a connection that was seen to open.
struct server_port {
	__u8 address[16];
	__u32 target;
	__u16 port; // host order
	__u16 pad;
};

// Most servers have the lower port, so there are few. The least recently used
// makes room.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct server_port);
	__type(value, __u8);
	__uint(max_entries, 1);
} servers SEC(".maps");

// Not 0 for the ports that some entry of servers has had: most packets need not
// look into servers at all.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 65536);
} server_ports SEC(".maps");

static __always_inline void server_at(struct server_port *s, __u32 target, const struct tuple *t, bool local)
{
	__builtin_memcpy(s->address, local ? t->local : t->remote, 16);
	s->target = target;
	s->port = local ? t->local_port : t->remote_port;
	s->pad = 0;
}

static __always_inline bool is_server(__u32 target, const struct tuple *t, bool local)
{
	__u32 port = local ? t->local_port : t->remote_port;
	__u32 *some = bpf_map_lookup_elem(&server_ports, &port);
	struct server_port key;

	if (!some || !*some)
		return false;
	server_at(&key, target, t, local);
	return bpf_map_lookup_elem(&servers, &key) != NULL;
}

// role_of returns the target's role. A known server has the role even with the
// higher port, unless the other side is a known one too.
static __always_inline enum role role_of(__u32 target, const struct tuple *t)
{
	enum role role = role_by_ports(t);
	bool local_higher;

	if (!t->has_ports || t->protocol != PROTOCOL_TCP)
		return role;
	local_higher = role != ROLE_SERVER;
	if (is_server(target, t, local_higher) && (role == ROLE_UNKNOWN || !is_server(target, t, !local_higher)))
		return local_higher ? ROLE_SERVER : ROLE_CLIENT;
	if (role == ROLE_UNKNOWN && is_server(target, t, !local_higher))
		return ROLE_CLIENT;
	return role;
}

// learn_role makes role_of return a role that a handshake has proved.
static __always_inline void learn_role(__u32 target, const struct tuple *t, enum role role)
{
	struct server_port key;
	__u32 port, some = 1;
	__u8 yes = 1;

	if (role_of(target, t) == role)
		return;
	server_at(&key, target, t, role == ROLE_SERVER);
	port = key.port;
	bpf_map_update_elem(&server_ports, &port, &some, BPF_ANY);
	bpf_map_update_elem(&servers, &key, &yes, BPF_ANY);
	if (role_of(target, t) == role)
		return;
	// The client's port was a server's before. The newest proof is right.
	server_at(&key, target, t, role != ROLE_SERVER);
	bpf_map_delete_elem(&servers, &key);
}
