// What a dropped packet tells about itself: the netns, the addresses, the
// direction. Nothing is certain: packets are dropped half made and half parsed.
#pragma once

#include "../include/kernel.bpf.h"
#include "tables.bpf.h"
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>

// Address families (AF_INET and so on).
#define FAMILY_UNIX 1
#define FAMILY_V4 2
#define FAMILY_V6 10
#define FAMILY_NETLINK 16
#define FAMILY_PACKET 17

// The kernel's inode numbers of namespaces begin here (PROC_DYNAMIC_FIRST, and
// since 6.18 a few fixed ones right below it).
#define FIRST_INUM 0xefffff00

// RTCF_LOCAL and RTF_LOCAL: a route to an address of this netns.
#define ROUTE_LOCAL 0x80000000

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sk_buff___more {
	__u8 pkt_type : 3;
	int skb_iif;
	unsigned int tail; // an offset from head on 64-bit kernels
	unsigned long _skb_refdst;
};

struct dst_entry {
	struct net_device *dev;
};

struct rtable {
	unsigned int rt_flags;
};

struct rt6_info {
	__u32 rt6i_flags;
};

#pragma clang attribute pop

// packet is what is known about a dropped one.
struct packet {
	struct sk_buff *skb;
	struct sock *rx_sk; // the receiver, or NULL
	unsigned char *head;
	__u32 network; // offsets from head
	__u32 tail;
	__u32 netns; // inode number
	__u32 bytes;
};

static __always_inline __u32 netns_of_device(struct net_device *dev)
{
	return dev ? BPF_CORE_READ(dev, nd_net.net, ns.inum) : 0;
}

static __always_inline __u32 netns_of_socket(struct sock *sk)
{
	return sk ? BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum) : 0;
}

static __always_inline __u16 family_of(struct sock *sk)
{
	return sk ? BPF_CORE_READ(sk, __sk_common.skc_family) : 0;
}

// is_message tells what netlink and Unix sockets pass on, which is in an skb too
// but is no packet.
static __always_inline bool is_message(struct sock *sk)
{
	__u16 family = family_of(sk);

	return family == FAMILY_UNIX || family == FAMILY_NETLINK;
}

static __always_inline struct dst_entry *route_of(struct sk_buff *skb)
{
	// The lowest bits are flags (SKB_DST_NOREF).
	struct sk_buff___more *more = (void *)skb;

	return (void *)(BPF_CORE_READ(more, _skb_refdst) & ~7UL);
}

// netns_of finds where a packet was dropped. Queues of sockets use skb->dev for
// other things, so it may point anywhere: then no inode number comes out of it.
// The socket comes after the device, since a packet takes its sender's along
// into the next netns. It returns 0 for what is no packet.
static __always_inline __u32 netns_of(struct sk_buff *skb, struct sock *rx_sk)
{
	struct dst_entry *route;
	struct sock *sk;
	__u32 inum = netns_of_socket(rx_sk);

	if (inum >= FIRST_INUM)
		return is_message(rx_sk) ? 0 : inum;
	inum = netns_of_device(BPF_CORE_READ(skb, dev));
	if (inum >= FIRST_INUM)
		return inum;
	sk = BPF_CORE_READ(skb, sk);
	inum = netns_of_socket(sk);
	if (inum >= FIRST_INUM)
		return is_message(sk) ? 0 : inum;
	route = route_of(skb);
	return route ? netns_of_device(BPF_CORE_READ(route, dev)) : 0;
}

// locate finds the network header, and the length from there on. A packet that
// is dropped early has none yet: then it begins behind the Ethernet header, or
// at the data.
static __always_inline void locate(struct packet *p)
{
	struct sk_buff *skb = p->skb;
	struct sk_buff___more *more = (void *)skb;
	__u32 data, len = BPF_CORE_READ(skb, len);
	__u16 mac = BPF_CORE_READ(skb, mac_header);

	p->head = BPF_CORE_READ(skb, head);
	p->tail = BPF_CORE_READ(more, tail);
	p->network = BPF_CORE_READ(skb, network_header);
	data = BPF_CORE_READ(skb, data) - p->head;
	if (p->network == 0 || p->network == 0xffff)
		p->network = mac == 0xffff || mac + ETH_HLEN < data ? data : mac + ETH_HLEN;
	// The data begins at any of the headers.
	p->bytes = len + data - p->network;
	if (p->network > data && p->network - data > len)
		p->bytes = len;
}

// read copies size bytes at an offset from the network header, unless they are
// not in the packet's linear part.
static __always_inline bool read(struct packet *p, __u32 offset, void *to, __u32 size)
{
	offset += p->network;
	return offset + size <= p->tail && !bpf_probe_read_kernel(to, size, p->head + offset);
}

static __always_inline void read_ports(struct packet *p, struct drop_key *key, __u32 offset)
{
	struct {
		__be16 source, destination;
	} ports;

	switch (key->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
	case IPPROTO_UDPLITE:
	case IPPROTO_DCCP:
		if (!read(p, offset, &ports, sizeof(ports)))
			return;
		key->source_port = ports.source;
		key->destination_port = ports.destination;
	}
}

static __always_inline void read_v4(struct packet *p, struct drop_key *key)
{
	struct iphdr ip;

	if (!read(p, 0, &ip, sizeof(ip)) || ip.version != 4)
		return;
	key->family = FAMILY_V4;
	key->protocol = ip.protocol;
	scope_map_v4(key->source, ip.saddr);
	scope_map_v4(key->destination, ip.daddr);
	if (!(ip.frag_off & bpf_htons(0x1fff))) // else there are no ports in here
		read_ports(p, key, ip.ihl * 4);
}

static __always_inline void read_v6(struct packet *p, struct drop_key *key)
{
	struct ipv6hdr ip;
	struct {
		__u8 next, length;
		__be16 fragment;
	} extension;
	__u32 offset = sizeof(ip);

	if (!read(p, 0, &ip, sizeof(ip)) || ip.version != 6)
		return;
	key->family = FAMILY_V6;
	key->protocol = ip.nexthdr;
	__builtin_memcpy(key->source, &ip.saddr, 16);
	__builtin_memcpy(key->destination, &ip.daddr, 16);
#pragma unroll
	for (int i = 0; i < 4; i++) {
		switch (key->protocol) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_FRAGMENT:
			break;
		default:
			read_ports(p, key, offset);
			return;
		}
		if (!read(p, offset, &extension, sizeof(extension)))
			return;
		if (key->protocol == IPPROTO_FRAGMENT) {
			offset += 8;
			if (extension.fragment & bpf_htons(0xfff8)) {
				key->protocol = extension.next;
				return;
			}
		} else {
			offset += (extension.length + 1) * 8;
		}
		key->protocol = extension.next;
	}
}

// read_tuple reads addresses and ports. What is sent from here and not yet at
// a device may have no skb->protocol.
static __always_inline void read_tuple(struct packet *p, struct drop_key *key)
{
	struct sk_buff *skb = p->skb;
	__be16 protocol = BPF_CORE_READ(skb, protocol);

	if (protocol == bpf_htons(ETH_P_IP) || protocol == 0)
		read_v4(p, key);
	if (protocol == bpf_htons(ETH_P_IPV6) || (protocol == 0 && !key->family))
		read_v6(p, key);
}

// direction_of tells by the way that a packet has taken, not by its addresses.
static __always_inline enum scope_direction direction_of(struct packet *p, __u8 family)
{
	struct sk_buff *skb = p->skb;
	struct sk_buff___more *more = (void *)skb;
	struct dst_entry *route = route_of(skb);
	__u32 flags, type;

	// A packet socket sees both directions.
	if (p->rx_sk && family_of(p->rx_sk) != FAMILY_PACKET)
		return SCOPE_IN;
	if (!BPF_CORE_READ(more, skb_iif)) {
		// It did not come through a device, or was dropped on the way in
		// before the kernel noted which. The latter has no route yet,
		// and if it has a socket, that is its sender's in another netns.
		if (route || netns_of_socket(BPF_CORE_READ(skb, sk)) == p->netns)
			return SCOPE_OUT;
		return SCOPE_UNKNOWN;
	}
	type = BPF_CORE_READ_BITFIELD_PROBED(more, pkt_type);
	if (type == PACKET_BROADCAST || type == PACKET_MULTICAST)
		return SCOPE_IN;
	if (!route) // not routed yet: a pod rarely forwards, a node does
		return p->netns == config.host_netns ? SCOPE_UNKNOWN : SCOPE_IN;
	if (family == FAMILY_V4) {
		struct rtable *v4 = (void *)route;

		flags = BPF_CORE_READ(v4, rt_flags);
	} else {
		struct rt6_info *v6 = (void *)route;

		flags = BPF_CORE_READ(v6, rt6i_flags);
	}
	return flags & ROUTE_LOCAL ? SCOPE_IN : SCOPE_FORWARD;
}
