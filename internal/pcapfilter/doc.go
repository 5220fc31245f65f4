// Package pcapfilter is the filter language of pcap-filter(7), as libpcap 1.10
// compiles it for Ethernet and for raw IP, without libpcap: it checks a filter
// on any system and compiles it to classic BPF. Package ebpf below it makes eBPF
// of that.
//
// An expression goes through five steps, each in files named after it: words
// (lex), a syntax tree in which abbreviations are spelled out (parse), a
// condition over values of the packet for one link type (gen), a graph of
// decisions that is made small (graph, optimize), and instructions (emit).
//
// Parse finds everything that is wrong whatever the link type; Compile finds the
// rest. Errors are of type *Error and know the place in the expression.
//
// # Differences from libpcap
//
// Every expression that both accept decides alike on every packet; a
// differential test against tcpdump holds that. They differ in what they accept:
//
//   - protochain is refused: it needs a loop, which a program in the kernel must
//     not have.
//   - inbound, outbound and ifindex are refused: they are no part of the bytes of
//     a packet. Directions are chosen when a capture is asked for.
//   - ip broadcast needs Options.Netmask, as in libpcap's library; tcpdump -d
//     passes a netmask of 0 instead.
//   - a portrange must be well-formed: libpcap ignores what follows the second
//     number, as in 6000-7000x.
//   - names of networks are refused: /etc/networks is of one machine, and libpcap
//     takes net loopback for the host 127.0.0.0.
//   - byte N & M and byte N | M test the byte that they name; libpcap forgets to
//     load it.
//   - libpcap takes the first constant inside a divisor or a shift count for the
//     whole of it, and so refuses ip[2] / ip[0] as a division by zero.
//   - pod, ns, svc and node are words for Kubernetes objects where libpcap has a
//     syntax error: before another name. Elsewhere they are names as they were.
//
// And libpcap's own optimizer changes a few decisions: a test whose outcome does
// not matter is left out, although reading beyond the end of a short packet would
// have rejected it. Here too; which such packets are accepted is not promised.
package pcapfilter
