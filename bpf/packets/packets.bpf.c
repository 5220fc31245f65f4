//go:build ignore

// packets copies the packets of one network interface into a ring buffer.
//
// Hooks: TCX (kernel 6.6, two programs of BPF_PROG_TYPE_SCHED_CLS), or the
// filter of a packet socket (one of BPF_PROG_TYPE_SOCKET_FILTER); the ring buffer
// needs kernel 5.8. No kernel structure is read, so no BTF is needed.
//
// One copy of the programs is loaded per interface, with its config; all copies
// share the maps.
#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum direction {
	DIRECTION_IN = 1, // the values of pcapng's epb_flags, bits 0-1
	DIRECTION_OUT = 2,
};

struct interface_config {
	__u32 snaplen;      // bytes kept of a packet
	__u16 interface_id; // index into counters, and the record's interface
	__u8 raw;           // packets begin with the IP header: no Ethernet header
	__u8 exclude;       // look every packet up in own_flows
	__u8 filter;        // user space has put a filter in the place of FILTER_MARKER
	__u8 objects;       // the filter wants to know what the addresses belong to
	__u16 pad;
};

volatile const struct interface_config config = {};

// record is what user space reads; cap_len bytes of packet follow it, and then
// whatever is left of its size class.
struct record {
	__u64 monotonic_ns; // CLOCK_MONOTONIC
	__u32 wire_len;     // bytes on the wire, without a tag in vlan_*
	__u32 cap_len;      // bytes that follow
	__u16 interface_id;
	__u16 vlan_tpid; // host order; 0: the packet has no tag outside its bytes
	__u16 vlan_tci;
	__u8 direction;
	__u8 pad;
};

// counters of one interface since go, of packets that the filter lets through. seen == records + lost once no program
// is running any more.
struct interface_counts {
	__u64 seen;
	__u64 seen_bytes; // wire_len
	__u64 lost;       // the ring buffer had no room, or the bytes no copy
	__u64 excluded;
};

// flow is a TCP connection as the node's own socket sees it; IPv4 addresses are
// IPv4-mapped, everything is in network order.
struct flow {
	__u8 local[16];
	__u8 remote[16];
	__be16 local_port;
	__be16 remote_port;
};

struct address {
	__u8 bytes[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); // user space sets it
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct interface_counts);
	__uint(max_entries, 1); // user space sets it
} counters SEC(".maps");

// running is 0 until go and again after stop: programs are attached before
// the nodes start together, and counts are of the same time on all of them.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} running SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct flow);
	__type(value, __u8);
	__uint(max_entries, 64);
} own_flows SEC(".maps");

// filter_addresses says which of the objects that the filter names have an
// address: bit N for the Nth. IPv4 addresses are IPv4-mapped. User space changes
// it while packets are seen.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct address);
	__type(value, __u32);
	__uint(max_entries, 1); // user space sets it
	__uint(map_flags, BPF_F_NO_PREALLOC);
} filter_addresses SEC(".maps");

// record_type is never read: it makes struct record part of the object's BTF,
// from which its Go type is generated.
struct record *const record_type __attribute__((unused)) = 0;

static __always_inline void map_v4(__u8 *to, __be32 from)
{
	__builtin_memset(to, 0, 10);
	to[10] = 0xff;
	to[11] = 0xff;
	__builtin_memcpy(to + 12, &from, 4);
}

// is_own tells whether a packet belongs to a connection in own_flows.
static __always_inline bool is_own(struct __sk_buff *skb, enum direction direction)
{
	__u32 off = config.raw ? 0 : sizeof(struct ethhdr);
	__u8 source[16], destination[16];
	struct {
		__be16 source, destination;
	} port;
	struct flow flow = {};

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;
		if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || ip.protocol != IPPROTO_TCP)
			return false;
		if (ip.frag_off & bpf_htons(0x1fff)) // no TCP header in here
			return false;
		map_v4(source, ip.saddr);
		map_v4(destination, ip.daddr);
		off += ip.ihl * 4;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;
		if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || ip.nexthdr != IPPROTO_TCP)
			return false;
		__builtin_memcpy(source, &ip.saddr, 16);
		__builtin_memcpy(destination, &ip.daddr, 16);
		off += sizeof(ip);
	} else {
		return false;
	}
	if (bpf_skb_load_bytes(skb, off, &port, sizeof(port)))
		return false;
	if (direction == DIRECTION_OUT) {
		__builtin_memcpy(flow.local, source, 16);
		__builtin_memcpy(flow.remote, destination, 16);
		flow.local_port = port.source;
		flow.remote_port = port.destination;
	} else {
		__builtin_memcpy(flow.local, destination, 16);
		__builtin_memcpy(flow.remote, source, 16);
		flow.local_port = port.destination;
		flow.remote_port = port.source;
	}
	return bpf_map_lookup_elem(&own_flows, &flow) != 0;
}

// FILTER_MARKER is loaded where user space puts the filter of the capture: a
// number that no compiler would choose. The filter finds the packet in r6 and the
// objects of its addresses in r7 and r8, leaves in r0 whether it lets the packet
// through, and uses r0 to r5, r7 to r9 and the stack below StackLimit (in
// internal/pcapfilter/ebpf).
#define FILTER_MARKER "0x7265746c69660001"

static __always_inline bool passes(struct __sk_buff *skb, __u64 source_objects, __u64 destination_objects)
{
	register struct __sk_buff *packet asm("r6") = skb;
	register __u64 source asm("r7") = source_objects;
	register __u64 destination asm("r8") = destination_objects;
	register __u64 result asm("r0");

	asm volatile("%[result] = " FILTER_MARKER " ll"
		     : [result] "=r"(result), "+r"(source), "+r"(destination)
		     : "r"(packet)
		     : "r1", "r2", "r3", "r4", "r5", "r9", "memory");
	return result != 0;
}

static __always_inline __u32 objects_at(const struct address *address)
{
	__u32 *objects = bpf_map_lookup_elem(&filter_addresses, address);
	return objects ? *objects : 0;
}

// network_protocol finds the network header: behind at most one VLAN tag in the
// packet's bytes. It returns 0 where there is none.
static __always_inline __u16 network_protocol(struct __sk_buff *skb, __u32 *off)
{
	__be16 protocol;
	__u8 version;

	*off = 0;
	if (config.raw) {
		if (bpf_skb_load_bytes(skb, 0, &version, sizeof(version)))
			return 0;
		return version >> 4 == 4 ? ETH_P_IP : version >> 4 == 6 ? ETH_P_IPV6 : 0;
	}
	*off = sizeof(struct ethhdr);
	if (bpf_skb_load_bytes(skb, *off - 2, &protocol, sizeof(protocol)))
		return 0;
	if (protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD)) {
		*off += 4;
		if (bpf_skb_load_bytes(skb, *off - 2, &protocol, sizeof(protocol)))
			return 0;
	}
	return bpf_ntohs(protocol);
}

// find_objects looks up what the addresses of a packet belong to: those of its IP
// header, or those that an ARP packet is about.
static __always_inline void find_objects(struct __sk_buff *skb, __u32 *source, __u32 *destination)
{
	struct address from = {}, to = {};
	__u32 off, first, second, len = 4;

	switch (network_protocol(skb, &off)) {
	case ETH_P_IP:
		first = off + offsetof(struct iphdr, saddr);
		second = off + offsetof(struct iphdr, daddr);
		break;
	case ETH_P_ARP:
		first = off + 14;
		second = off + 24;
		break;
	case ETH_P_IPV6:
		first = off + offsetof(struct ipv6hdr, saddr);
		second = off + offsetof(struct ipv6hdr, daddr);
		len = 16;
		break;
	default:
		return;
	}
	if (len == 16) {
		if (bpf_skb_load_bytes(skb, first, &from, 16) || bpf_skb_load_bytes(skb, second, &to, 16))
			return;
	} else {
		from.bytes[10] = from.bytes[11] = to.bytes[10] = to.bytes[11] = 0xff;
		if (bpf_skb_load_bytes(skb, first, from.bytes + 12, 4) || bpf_skb_load_bytes(skb, second, to.bytes + 12, 4))
			return;
	}
	*source = objects_at(&from);
	*destination = objects_at(&to);
}

// filtered tells whether the capture's filter rejects a packet.
static __always_inline bool filtered(struct __sk_buff *skb)
{
	__u32 source = 0, destination = 0;

	if (!config.filter)
		return false;
	if (config.objects)
		find_objects(skb, &source, &destination);
	return !passes(skb, source, destination);
}

// copy writes one record into a reservation of a size that the verifier knows.
// The ring is polled, so nobody is woken: a wake-up per packet costs the
// sender more than everything else here.
static __always_inline bool copy(struct __sk_buff *skb, enum direction direction, __u32 cap_len, const __u32 class)
{
	struct record *record = bpf_ringbuf_reserve(&ring, sizeof(struct record) + class, 0);
	if (!record)
		return false;
	record->monotonic_ns = bpf_ktime_get_ns();
	record->wire_len = skb->len;
	record->cap_len = cap_len;
	record->interface_id = config.interface_id;
	record->vlan_tpid = skb->vlan_present ? bpf_ntohs(skb->vlan_proto) : 0;
	record->vlan_tci = skb->vlan_tci;
	record->direction = direction;
	record->pad = 0;
	if (bpf_skb_load_bytes(skb, 0, record + 1, cap_len)) {
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		return false;
	}
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return true;
}

// A reservation has a fixed size; reserving snaplen for every packet would fill
// the ring with air. The classes waste a third of a record on average.
static __always_inline bool record_packet(struct __sk_buff *skb, enum direction direction)
{
	__u64 cap_len = skb->len;

	if (cap_len > config.snaplen)
		cap_len = config.snaplen;
	if (cap_len == 0)
		return false;
	// Older verifiers do not learn from == that a length is not 0, but they do
	// follow a sum. The compiler must not see that it is the same.
	__u64 last = cap_len - 1;
	asm volatile("" : "+r"(last));
#define CLASS(size)    \
	if (last < (size)) \
	return copy(skb, direction, last + 1, size)
	CLASS(64);
	CLASS(128);
	CLASS(256);
	CLASS(512);
	CLASS(1024);
	CLASS(1536);
	CLASS(3072);
	CLASS(4608);
	CLASS(9216);
	CLASS(18432);
	CLASS(36864);
	CLASS(73728);
	CLASS(147456);
	CLASS(262144);
#undef CLASS
	return false;
}

static __always_inline void handle(struct __sk_buff *skb, enum direction direction)
{
	__u32 key = 0;
	__u32 *on = bpf_map_lookup_elem(&running, &key);
	if (!on || !*on || filtered(skb))
		return;

	key = config.interface_id;
	struct interface_counts *count = bpf_map_lookup_elem(&counters, &key);
	if (!count)
		return;

	// Per-CPU values: but a program can be interrupted by another packet on
	// the same CPU, so plain additions could lose counts.
	if (config.exclude && is_own(skb, direction)) {
		__sync_fetch_and_add(&count->excluded, 1);
		return;
	}
	__sync_fetch_and_add(&count->seen, 1);
	__sync_fetch_and_add(&count->seen_bytes, skb->len);
	if (!record_packet(skb, direction))
		__sync_fetch_and_add(&count->lost, 1);
}

SEC("tc")
int packets_ingress(struct __sk_buff *skb)
{
	handle(skb, DIRECTION_IN);
	return TC_ACT_UNSPEC; // TCX_NEXT: the others' programs decide
}

SEC("tc")
int packets_egress(struct __sk_buff *skb)
{
	handle(skb, DIRECTION_OUT);
	return TC_ACT_UNSPEC;
}

SEC("socket")
int packets_socket(struct __sk_buff *skb)
{
	handle(skb, skb->pkt_type == PACKET_OUTGOING ? DIRECTION_OUT : DIRECTION_IN);
	return 0; // bytes for the socket, which nobody reads
}
