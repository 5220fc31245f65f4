//go:build ignore

// dns copies DNS messages of one network interface into a ring buffer: the payload
// of UDP datagrams and TCP segments from or to port 53. User space parses them: names
// of 255 bytes and TCP streams are not for a verifier.
//
// Hooks: TCX (kernel 6.6, two programs of BPF_PROG_TYPE_SCHED_CLS), or the filter of a
// packet socket (BPF_PROG_TYPE_SOCKET_FILTER); the ring buffer needs kernel 5.8. No
// kernel structure is read, so no BTF is needed.
//
// One copy of the programs is loaded per interface, with its config; all copies
// share the maps.
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include "../include/scope.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define DNS_PORT 53
#define MAX_COPY 65536 // no message is longer
// More IPv6 extension headers than nearly anybody sends: the verifier's work, for each
// interface, grows with the third power of this.
#define MAX_EXTENSIONS 4

struct dns_config {
	__u32 target;
	__u32 wake_bytes; // unread bytes in the ring that are worth waking the reader
	__u8 raw; // packets begin with the IP header: no Ethernet header
	__u8 node; // the interface is the node's: what its pods say passes here once more
	__u8 pad[2];
};

volatile const struct dns_config config = {};

enum dns_flags {
	DNS_SYN = 1,
	DNS_END = 2, // FIN or RST
};

// dns_record is what user space reads; copied bytes of payload follow it, and then
// whatever is left of its size class. Addresses are IPv4-mapped for IPv4, ports in
// network order.
struct dns_record {
	__u64 monotonic_ns; // CLOCK_MONOTONIC
	__u32 target;
	__u32 length; // of the payload in the packet
	__u32 copied; // bytes that follow
	__u32 sequence; // TCP's, of the first byte
	__u8 source[16];
	__u8 destination[16];
	__be16 source_port;
	__be16 destination_port;
	__u16 segment; // bytes of each datagram, when the kernel has merged several; or 0
	__u8 protocol; // IPPROTO_UDP or IPPROTO_TCP
	__u8 direction; // enum scope_direction
	__u8 flags; // enum dns_flags
	__u8 pad[7];
};

struct dns_counts {
	__u64 full; // records that found no room in the ring
	__u64 unreadable; // records whose payload could not be copied
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); // user space sets it
} dns_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct dns_counts);
	__uint(max_entries, 1);
} dns_lost SEC(".maps");

// dns_record_type is never read: it makes its type part of the object's BTF.
struct dns_record *const dns_record_type __attribute__((unused)) = 0;

// place is where in a packet things are, in bytes from its beginning.
struct place {
	__u32 transport;
	__u32 end; // of the IP packet: behind it may be padding
	__u8 protocol;
};

static __always_inline bool find_v4(struct __sk_buff *skb, __u32 off, struct place *at, struct dns_record *r)
{
	struct iphdr ip;
	__u32 length;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return false;
	if (ip.protocol != IPPROTO_UDP && ip.protocol != IPPROTO_TCP)
		return false;
	// A later fragment has no ports; the first one has the question.
	if (ip.frag_off & bpf_htons(0x1fff))
		return false;
	length = bpf_ntohs(ip.tot_len);
	at->transport = off + ip.ihl * 4;
	at->end = length ? off + length : skb->len; // 0: more than 65535 (BIG TCP)
	at->protocol = ip.protocol;
	scope_map_v4(r->source, ip.saddr);
	scope_map_v4(r->destination, ip.daddr);
	return true;
}

// skip_extensions goes on to the transport header (RFC 8200, section 4).
static __always_inline bool skip_extensions(struct __sk_buff *skb, __u8 next, struct place *at)
{
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		struct {
			__u8 next, length;
			__be16 fragment;
		} header;

		if (next == IPPROTO_UDP || next == IPPROTO_TCP) {
			at->protocol = next;
			return true;
		}
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT &&
		    next != IPPROTO_AH)
			return false;
		if (bpf_skb_load_bytes(skb, at->transport, &header, sizeof(header)))
			return false;
		if (next == IPPROTO_FRAGMENT) {
			if (header.fragment & bpf_htons(0xfff8))
				return false;
			at->transport += 8;
		} else if (next == IPPROTO_AH) {
			at->transport += (header.length + 2) * 4;
		} else {
			at->transport += (header.length + 1) * 8;
		}
		next = header.next;
	}
	return false;
}

static __always_inline bool find_v6(struct __sk_buff *skb, __u32 off, struct place *at, struct dns_record *r)
{
	struct ipv6hdr ip;
	__u32 length;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)))
		return false;
	length = bpf_ntohs(ip.payload_len);
	at->transport = off + sizeof(ip);
	at->end = length ? at->transport + length : skb->len;
	__builtin_memcpy(r->source, &ip.saddr, 16);
	__builtin_memcpy(r->destination, &ip.daddr, 16);
	return skip_extensions(skb, ip.nexthdr, at);
}

// describe fills r, except for the payload, and returns where that begins, or 0 when
// the packet has no part in DNS.
static __always_inline __u32 describe(struct __sk_buff *skb, struct dns_record *r)
{
	__u32 off = config.raw ? 0 : sizeof(struct ethhdr);
	struct place at = {};
	struct {
		__be16 source, destination;
	} port;
	bool found = false;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		found = find_v4(skb, off, &at, r);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		found = find_v6(skb, off, &at, r);
	if (!found || bpf_skb_load_bytes(skb, at.transport, &port, sizeof(port)))
		return 0;
	if (port.source != bpf_htons(DNS_PORT) && port.destination != bpf_htons(DNS_PORT))
		return 0;
	r->source_port = port.source;
	r->destination_port = port.destination;
	r->protocol = at.protocol;
	if (at.protocol == IPPROTO_TCP) {
		struct tcphdr tcp;

		if (bpf_skb_load_bytes(skb, at.transport, &tcp, sizeof(tcp)))
			return 0;
		off = at.transport + tcp.doff * 4;
		r->sequence = bpf_ntohl(tcp.seq);
		r->flags = (tcp.syn ? DNS_SYN : 0) | (tcp.fin || tcp.rst ? DNS_END : 0);
	} else {
		off = at.transport + sizeof(struct udphdr);
		// Of datagrams that the kernel has merged, each has its own message.
		r->segment = skb->gso_segs > 1 ? skb->gso_size : 0;
	}
	if (at.end > skb->len)
		at.end = skb->len;
	r->length = at.end > off ? at.end - off : 0;
	return off;
}

// copy copies length bytes, from 1 to size, or returns false. Older verifiers (6.1 is
// one) forget what a comparison has told about a value that the compiler keeps on the
// stack, so the length is compared right before its use. They do not learn from ==
// that it is not 0 either, but they follow a sum. The compiler must see neither that
// the sum is the length nor that it has been compared before.
static __always_inline bool copy(struct __sk_buff *skb, __u32 off, void *to, __u64 length, const __u64 size)
{
	__u64 last = length - 1;

	asm volatile("" : "+r"(last));
	if (last >= size)
		return false;
	asm volatile("" : "+r"(last));
	return !bpf_skb_load_bytes(skb, off, to, last + 1);
}

// emit writes one record into a reservation of a size that the verifier knows.
static __always_inline void emit(struct __sk_buff *skb, const struct dns_record *r, __u32 off, __u32 copied, const __u32 class,
				 struct dns_counts *lost)
{
	struct dns_record *to = bpf_ringbuf_reserve(&dns_ring, sizeof(*to) + class, 0);
	__u64 wake;

	if (!to) {
		__sync_fetch_and_add(&lost->full, 1);
		return;
	}
	__builtin_memcpy(to, r, sizeof(*to));
	to->monotonic_ns = bpf_ktime_get_ns();
	to->copied = copied;
	if (class && !copy(skb, off, to + 1, copied, class)) {
		__sync_fetch_and_add(&lost->unreadable, 1);
		bpf_ringbuf_discard(to, BPF_RB_NO_WAKEUP);
		return;
	}
	// The reader comes by itself now and then: waking it for each message would
	// cost whoever sends it more than everything else here.
	wake = bpf_ringbuf_query(&dns_ring, BPF_RB_AVAIL_DATA) > config.wake_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	bpf_ringbuf_submit(to, wake);
}

// is_counted_at_pod tells that a pod of this node which is a target sends or gets the
// message: it counts where the pod's own interface shows it.
static __always_inline bool is_counted_at_pod(const struct dns_record *r)
{
	return config.node && (bpf_map_lookup_elem(&scope_addresses, r->source) ||
			       bpf_map_lookup_elem(&scope_addresses, r->destination));
}

// is_other looks into the skb's linear part, which only some programs may. It tells
// that a packet has nothing to do with DNS, of nearly all that have not, and leaves the
// others to describe.
static __always_inline bool is_other(struct __sk_buff *skb)
{
	void *ip = (void *)(long)skb->data + (config.raw ? 0 : sizeof(struct ethhdr));
	void *end = (void *)(long)skb->data_end;
	struct {
		__be16 source, destination;
	} *port;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *v4 = ip;

		port = ip + sizeof(*v4);
		if ((void *)(port + 1) > end || v4->ihl != 5 || (v4->protocol != IPPROTO_UDP && v4->protocol != IPPROTO_TCP))
			return false;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *v6 = ip;

		port = ip + sizeof(*v6);
		if ((void *)(port + 1) > end || (v6->nexthdr != IPPROTO_UDP && v6->nexthdr != IPPROTO_TCP))
			return false;
	} else {
		return false;
	}
	return port->source != bpf_htons(DNS_PORT) && port->destination != bpf_htons(DNS_PORT);
}

static __always_inline void handle(struct __sk_buff *skb, enum scope_direction direction)
{
	struct dns_record r = {};
	struct dns_counts *lost;
	__u32 zero = 0, off, copied;

	if (!scope_is_running())
		return;
	off = describe(skb, &r);
	// Bare acknowledgements say nothing, and neither do probes of the port.
	if (!off || (!r.length && !(r.flags & (DNS_SYN | DNS_END))) || is_counted_at_pod(&r))
		return;
	lost = bpf_map_lookup_elem(&dns_lost, &zero);
	if (!lost)
		return;
	r.target = config.target;
	r.direction = direction;
	copied = r.length;
	if (copied > MAX_COPY)
		copied = MAX_COPY;
	if (copied == 0) {
		emit(skb, &r, off, 0, 0, lost);
		return;
	}
	// A reservation has a fixed size; the classes waste a quarter on average.
#define CLASS(size)                                     \
	if (copied <= (size)) {                         \
		emit(skb, &r, off, copied, size, lost); \
		return;                                 \
	}
	CLASS(64);
	CLASS(128);
	CLASS(256);
	CLASS(512);
	CLASS(1536);
	CLASS(4608);
	CLASS(18432);
	CLASS(MAX_COPY);
#undef CLASS
}

SEC("tc")
int dns_ingress(struct __sk_buff *skb)
{
	if (!is_other(skb))
		handle(skb, SCOPE_IN);
	return TC_ACT_UNSPEC; // TCX_NEXT: the others' programs decide
}

SEC("tc")
int dns_egress(struct __sk_buff *skb)
{
	if (!is_other(skb))
		handle(skb, SCOPE_OUT);
	return TC_ACT_UNSPEC;
}

SEC("socket")
int dns_socket(struct __sk_buff *skb)
{
	handle(skb, skb->pkt_type == PACKET_OUTGOING ? SCOPE_OUT : SCOPE_IN);
	return 0; // bytes for the socket, which nobody reads
}
