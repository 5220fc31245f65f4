package pcapfilter

import (
	"iter"
	"maps"
	"slices"
)

// words are the words of the language and their main spelling.
var words = wordTable(
	map[string]string{
		"ppp": "ether", "slip": "ether", "fddi": "ether", "tr": "ether", "wlan": "ether", "link": "ether",
		"es-is": "esis", "is-is": "isis",
		"direction": "dir", "address1": "addr1", "address2": "addr2", "address3": "addr3", "address4": "addr4",
		"length": "len", "on": "ifname", "ruleset": "rset", "rulenum": "rnr", "subrulenum": "srnr", "lsu": "lssu",
	},
	protocolWords, refusedWords,
	[]string{
		"dst", "src", "host", "net", "mask", "port", "portrange", "proto", "protochain", "gateway",
		"type", "subtype", "dir", "addr1", "addr2", "addr3", "addr4", "ra", "ta",
		"less", "greater", "byte", "broadcast", "multicast", "and", "or", "not", "len",
		"inbound", "outbound", "ifindex", "vlan", "mpls", "pppoed", "pppoes", "geneve", "llc", "rnr",
	},
)

// wordSigns are words that are also written as signs.
var wordSigns = map[string]string{"and": "and", "or": "or", "not": "!"}

// protocolWords can stand alone, before a qualifier, and before brackets.
var protocolWords = []string{
	"ether", "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp", "pim", "vrrp", "carp", "ah", "esp",
	"atalk", "aarp", "decnet", "lat", "sca", "moprc", "mopdl", "iso", "esis", "isis", "clnp",
	"l1", "l2", "iih", "lsp", "snp", "csnp", "psnp", "stp", "ipx", "netbeui", "radio",
}

// refusedWords begin primitives for links that a node does not have.
var refusedWords = []string{
	"lane", "metac", "bcc", "oam", "oamf4", "oamf4ec", "oamf4sc", "sc", "ilmic", "vpi", "vci", "connectmsg", "metaconnect",
	"ifname", "rset", "srnr", "reason", "action",
	"fisu", "lssu", "msu", "hfisu", "hlssu", "hmsu", "sio", "opc", "dpc", "sls", "hsio", "hopc", "hdpc", "hsls",
}

// objectWords name Kubernetes objects, before a name.
var objectWords = map[string]ObjectKind{"pod": Pod, "ns": Namespace, "svc": Service, "node": Node}

// usefulWords are the words that a misspelled one may be meant to be.
func usefulWords() iter.Seq[string] {
	return func(yield func(string) bool) {
		for word, main := range words {
			if !slices.Contains(refusedWords, main) && !yield(word) {
				return
			}
		}
		for word := range objectWords {
			if !yield(word) {
				return
			}
		}
	}
}

func wordTable(aliases map[string]string, lists ...[]string) map[string]string {
	table := maps.Clone(aliases)
	for _, list := range lists {
		for _, word := range list {
			table[word] = word
		}
	}
	return table
}

// constants are names of numbers: offsets and values of header fields.
var constants = map[string]uint32{
	"icmptype": 0, "icmpcode": 1,
	"icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4, "icmp-redirect": 5, "icmp-echo": 8,
	"icmp-routeradvert": 9, "icmp-routersolicit": 10, "icmp-timxceed": 11, "icmp-paramprob": 12, "icmp-tstamp": 13,
	"icmp-tstampreply": 14, "icmp-ireq": 15, "icmp-ireqreply": 16, "icmp-maskreq": 17, "icmp-maskreply": 18,

	"icmp6type": 0, "icmp6code": 1,
	"icmp6-destinationunreach": 1, "icmp6-packettoobig": 2, "icmp6-timeexceeded": 3, "icmp6-parameterproblem": 4,
	"icmp6-echo": 128, "icmp6-echoreply": 129, "icmp6-multicastlistenerquery": 130, "icmp6-multicastlistenerreportv1": 131,
	"icmp6-multicastlistenerdone": 132, "icmp6-routersolicit": 133, "icmp6-routeradvert": 134, "icmp6-neighborsolicit": 135,
	"icmp6-neighboradvert": 136, "icmp6-redirect": 137, "icmp6-routerrenum": 138, "icmp6-nodeinformationquery": 139,
	"icmp6-nodeinformationresponse": 140, "icmp6-ineighbordiscoverysolicit": 141, "icmp6-ineighbordiscoveryadvert": 142,
	"icmp6-multicastlistenerreportv2": 143, "icmp6-homeagentdiscoveryrequest": 144, "icmp6-homeagentdiscoveryreply": 145,
	"icmp6-mobileprefixsolicit": 146, "icmp6-mobileprefixadvert": 147, "icmp6-certpathsolicit": 148, "icmp6-certpathadvert": 149,
	"icmp6-multicastrouteradvert": 151, "icmp6-multicastroutersolicit": 152, "icmp6-multicastrouterterm": 153,

	"tcpflags": 13,
	"tcp-fin":  0x01, "tcp-syn": 0x02, "tcp-rst": 0x04, "tcp-push": 0x08, "tcp-ack": 0x10, "tcp-urg": 0x20, "tcp-ece": 0x40, "tcp-cwr": 0x80,
}
