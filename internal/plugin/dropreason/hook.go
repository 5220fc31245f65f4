//go:build linux

package dropreason

// A hook is one of netfilter's, as a number that fits into a key.
type hook uint64

// Hooks of netfilter, with those of bridges and ARP under the same names.
const (
	hookUnknown hook = iota
	hookPrerouting
	hookInput
	hookForward
	hookOutput
	hookPostrouting
	hookIngress
	hookEgress
)

// String is the name as in wire.DropSample.
func (h hook) String() string {
	names := [...]string{"", "PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING", "INGRESS", "EGRESS"}
	if int(h) < len(names) {
		return names[h]
	}
	return ""
}

// hookOf tells the hook by the functions that called netfilter, the nearest one
// first: those of the IP layers, of ARP, of bridges and of br_netfilter, which
// shows bridged packets to the hooks of IP. Between them and netfilter may be a
// function that only passes on.
func hookOf(callers ...string) hook {
	for _, caller := range callers {
		switch caller {
		case "ip_rcv", "ip_list_rcv", "ip_sublist_rcv", "ipv6_rcv", "ipv6_list_rcv", "ip6_sublist_rcv", "ip6_rcv_core", "vrf_rcv_nfhook",
			"br_handle_frame", "br_nf_pre_routing", "br_nf_pre_routing_ipv6", "br_nf_pre_routing_finish", "br_nf_pre_routing_finish_ipv6", "br_nf_pre_routing_finish_bridge":
			return hookPrerouting
		case "ip_local_deliver", "ip6_input", "ip6_mc_input", "arp_rcv", "br_pass_frame_up", "br_nf_local_in":
			return hookInput
		case "ip_forward", "ip6_forward", "ip_mr_forward", "ipmr_queue_xmit", "ipmr_queue_fwd_xmit", "ip6mr_forward2",
			"__br_forward", "br_forward", "br_nf_forward", "br_nf_forward_ip", "br_nf_forward_arp", "br_nf_forward_finish":
			return hookForward
		case "__ip_local_out", "ip_local_out", "__ip6_local_out", "ip6_local_out", "ip6_xmit", "raw_sendmsg", "raw_send_hdrinc",
			"rawv6_sendmsg", "rawv6_send_hdrinc", "ndisc_send_skb", "mld_sendpack", "igmp6_send", "arp_xmit", "br_deliver", "__br_deliver":
			return hookOutput
		case "ip_output", "ip_mc_output", "ip6_output", "xfrm4_output", "xfrm6_output", "br_forward_finish", "br_nf_post_routing", "br_dev_queue_push_xmit":
			return hookPostrouting
		case "__netif_receive_skb_core", "__netif_receive_skb_one_core", "__netif_receive_skb_list_core", "nf_ingress":
			return hookIngress
		case "__dev_queue_xmit", "nf_hook_egress":
			return hookEgress
		}
	}
	return hookUnknown
}
