// Reading a packet: from the link header to the ports.
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "flow.bpf.h"

#define MAX_TAGS 2       // of VLANs, inside the bytes
#define MAX_EXTENSIONS 8 // headers of IPv6

#ifndef IPPROTO_SCTP
#define IPPROTO_SCTP 132
#endif

// Bits of a TCP header's flags.
enum {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_PSH = 0x08,
	TCP_ACK = 0x10,
	TCP_URG = 0x20,
	TCP_ECE = 0x40,
	TCP_CWR = 0x80,
	TCP_NS = 0x100,
};

// packet is what is kept of a packet.
struct packet {
	struct tuple tuple;
	__u32 bytes; // from the network header on, without what Ethernet adds to short frames
	__u32 seq, ack;
	__u16 flags;    // of TCP
	__u16 segments; // that the kernel sends this as, or has put together; 0: one
};

struct tcp_head {
	__be16 source, dest;
	__be32 seq, ack;
	__u8 offset, flags;
};

struct extension {
	__u8 next, len;
	__be16 fragment; // of a fragment header
};

// load copies bytes of the packet. Where they are in the skb's linear part, as headers
// nearly always are, and the program may look there itself (direct), that saves a call
// for each header. size is a constant, and at less than 2^16.
static __always_inline int load(struct __sk_buff *skb, const bool direct, __u32 at, void *to, const __u32 size)
{
	if (direct) {
		void *from = (void *)(long)skb->data + at;

		if (from + size <= (void *)(long)skb->data_end) {
			__builtin_memcpy(to, from, size);
			return 0;
		}
	}
	return bpf_skb_load_bytes(skb, at, to, size);
}

// network_header returns the protocol of the packet (ETH_P_IP or ETH_P_IPV6, host
// order), or 0, and where its header begins. It reads bytes, not skb->protocol,
// which may be a tag's.
static __always_inline __u16 network_header(struct __sk_buff *skb, const bool direct, bool raw, __u32 *at)
{
	__be16 type;

	*at = 0;
	if (raw) {
		__u8 first;
		if (load(skb, direct, 0, &first, 1))
			return 0;
		return first >> 4 == 4 ? ETH_P_IP : first >> 4 == 6 ? ETH_P_IPV6 : 0;
	}
	*at = sizeof(struct ethhdr);
	if (load(skb, direct, offsetof(struct ethhdr, h_proto), &type, sizeof(type)))
		return 0;
	for (int i = 0; i < MAX_TAGS; i++) {
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			break;
		if (bpf_skb_load_bytes(skb, *at + 2, &type, sizeof(type)))
			return 0;
		*at += 4;
	}
	return bpf_ntohs(type);
}

// read_ports fills in what TCP, UDP and SCTP say of themselves. A header that is not
// whole counts as a packet without ports.
static __always_inline void read_ports(struct __sk_buff *skb, const bool direct, __u32 at, bool out, struct packet *p)
{
	struct tcp_head head = {};
	struct tuple *t = &p->tuple;

	if (t->protocol == IPPROTO_TCP) {
		if (load(skb, direct, at, &head, 14))
			return;
		p->seq = bpf_ntohl(head.seq);
		p->ack = bpf_ntohl(head.ack);
		p->flags = head.flags | (head.offset & 1 ? TCP_NS : 0);
	} else if (t->protocol == IPPROTO_UDP || t->protocol == IPPROTO_SCTP) {
		if (load(skb, direct, at, &head, 4))
			return;
	} else {
		return;
	}
	t->local_port = bpf_ntohs(out ? head.source : head.dest);
	t->remote_port = bpf_ntohs(out ? head.dest : head.source);
	t->has_ports = true;
}

// set_bytes takes the length that IP states where the packet has more: Ethernet
// fills up short frames. Packets of more than 64 KiB (BIG TCP) state 0.
static __always_inline void set_bytes(struct packet *p, __u32 stated, __u32 present)
{
	p->bytes = stated && stated < present ? stated : present;
}

static __always_inline bool read_ipv4(struct __sk_buff *skb, const bool direct, __u32 at, bool out, struct packet *p)
{
	struct iphdr ip;
	struct tuple *t = &p->tuple;

	if (load(skb, direct, at, &ip, sizeof(ip)) || ip.ihl < 5)
		return false;
	scope_map_v4(t->local, out ? ip.saddr : ip.daddr);
	scope_map_v4(t->remote, out ? ip.daddr : ip.saddr);
	t->family = FAMILY_IPV4;
	t->protocol = ip.protocol;
	set_bytes(p, bpf_ntohs(ip.tot_len), skb->len - at);
	// A fragment: also the first one, so that all of a datagram are in one flow.
	if (!(ip.frag_off & bpf_htons(0x3fff)))
		read_ports(skb, direct, at + ip.ihl * 4, out, p);
	return true;
}

// skip_extensions moves *at behind the extension headers and sets *next to what
// follows them. It returns whether the packet is a fragment.
static __always_inline bool skip_extensions(struct __sk_buff *skb, __u32 *at, __u8 *next)
{
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		struct extension e;

		if (*next != IPPROTO_HOPOPTS && *next != IPPROTO_ROUTING && *next != IPPROTO_FRAGMENT &&
		    *next != IPPROTO_AH && *next != IPPROTO_DSTOPTS)
			return false;
		if (bpf_skb_load_bytes(skb, *at, &e, sizeof(e)))
			return false;
		if (*next == IPPROTO_FRAGMENT) {
			*next = e.next;
			*at += 8;
			if (e.fragment & bpf_htons(0xfff9))
				return true;
		} else {
			*at += *next == IPPROTO_AH ? (e.len + 2) * 4 : (e.len + 1) * 8;
			*next = e.next;
		}
	}
	return false;
}

static __always_inline bool read_ipv6(struct __sk_buff *skb, const bool direct, __u32 at, bool out, struct packet *p)
{
	struct ipv6hdr ip;
	struct tuple *t = &p->tuple;
	__u32 after = at + sizeof(ip);

	if (load(skb, direct, at, &ip, sizeof(ip)))
		return false;
	__builtin_memcpy(t->local, out ? &ip.saddr : &ip.daddr, 16);
	__builtin_memcpy(t->remote, out ? &ip.daddr : &ip.saddr, 16);
	t->family = FAMILY_IPV6;
	set_bytes(p, ip.payload_len ? bpf_ntohs(ip.payload_len) + sizeof(ip) : 0, skb->len - at);
	t->protocol = ip.nexthdr;
	if (skip_extensions(skb, &after, &t->protocol))
		return true;
	// Behind extensions it may be anywhere, which costs the verifier too much.
	if (after == at + sizeof(ip))
		read_ports(skb, direct, at + sizeof(ip), out, p);
	else
		read_ports(skb, false, after, out, p);
	return true;
}

// read_packet returns false when the packet is not IP.
static __always_inline bool read_packet(struct __sk_buff *skb, const bool direct, bool raw, bool out, struct packet *p)
{
	__u32 at;

	p->segments = skb->gso_segs;
	switch (network_header(skb, direct, raw, &at)) {
	case ETH_P_IP:
		return read_ipv4(skb, direct, at, out, p);
	case ETH_P_IPV6:
		return read_ipv6(skb, direct, at, out, p);
	}
	return false;
}
