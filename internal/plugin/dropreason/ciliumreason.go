//go:build linux

package dropreason

import "fmt"

// ciliumReason names one of Cilium's reasons for drops as Hubble does. The numbers
// are those of enum DropReason in Cilium's api/v1/flow/flow.proto, as of 1.18; for
// 136 and 161, which have got a new meaning since their name, the name is from
// pkg/monitor/api/drop.go.
func ciliumReason(number uint8) string {
	names := [...]string{
		130 - ciliumFirstDrop: "INVALID_SOURCE_MAC",
		131 - ciliumFirstDrop: "INVALID_DESTINATION_MAC",
		132 - ciliumFirstDrop: "INVALID_SOURCE_IP",
		133 - ciliumFirstDrop: "POLICY_DENIED",
		134 - ciliumFirstDrop: "INVALID_PACKET_DROPPED",
		135 - ciliumFirstDrop: "CT_TRUNCATED_OR_INVALID_HEADER",
		136 - ciliumFirstDrop: "FRAGMENTATION_NEEDED",
		137 - ciliumFirstDrop: "CT_UNKNOWN_L4_PROTOCOL",
		138 - ciliumFirstDrop: "CT_CANNOT_CREATE_ENTRY_FROM_PACKET",
		139 - ciliumFirstDrop: "UNSUPPORTED_L3_PROTOCOL",
		140 - ciliumFirstDrop: "MISSED_TAIL_CALL",
		141 - ciliumFirstDrop: "ERROR_WRITING_TO_PACKET",
		142 - ciliumFirstDrop: "UNKNOWN_L4_PROTOCOL",
		143 - ciliumFirstDrop: "UNKNOWN_ICMPV4_CODE",
		144 - ciliumFirstDrop: "UNKNOWN_ICMPV4_TYPE",
		145 - ciliumFirstDrop: "UNKNOWN_ICMPV6_CODE",
		146 - ciliumFirstDrop: "UNKNOWN_ICMPV6_TYPE",
		147 - ciliumFirstDrop: "ERROR_RETRIEVING_TUNNEL_KEY",
		148 - ciliumFirstDrop: "ERROR_RETRIEVING_TUNNEL_OPTIONS",
		149 - ciliumFirstDrop: "INVALID_GENEVE_OPTION",
		150 - ciliumFirstDrop: "UNKNOWN_L3_TARGET_ADDRESS",
		151 - ciliumFirstDrop: "STALE_OR_UNROUTABLE_IP",
		152 - ciliumFirstDrop: "NO_MATCHING_LOCAL_CONTAINER_FOUND",
		153 - ciliumFirstDrop: "ERROR_WHILE_CORRECTING_L3_CHECKSUM",
		154 - ciliumFirstDrop: "ERROR_WHILE_CORRECTING_L4_CHECKSUM",
		155 - ciliumFirstDrop: "CT_MAP_INSERTION_FAILED",
		156 - ciliumFirstDrop: "INVALID_IPV6_EXTENSION_HEADER",
		157 - ciliumFirstDrop: "IP_FRAGMENTATION_NOT_SUPPORTED",
		158 - ciliumFirstDrop: "SERVICE_BACKEND_NOT_FOUND",
		160 - ciliumFirstDrop: "NO_TUNNEL_OR_ENCAPSULATION_ENDPOINT",
		161 - ciliumFirstDrop: "NAT46_64_NOT_ENABLED",
		162 - ciliumFirstDrop: "REACHED_EDT_RATE_LIMITING_DROP_HORIZON",
		163 - ciliumFirstDrop: "UNKNOWN_CONNECTION_TRACKING_STATE",
		164 - ciliumFirstDrop: "LOCAL_HOST_IS_UNREACHABLE",
		165 - ciliumFirstDrop: "NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION",
		166 - ciliumFirstDrop: "UNSUPPORTED_L2_PROTOCOL",
		167 - ciliumFirstDrop: "NO_MAPPING_FOR_NAT_MASQUERADE",
		168 - ciliumFirstDrop: "UNSUPPORTED_PROTOCOL_FOR_NAT_MASQUERADE",
		169 - ciliumFirstDrop: "FIB_LOOKUP_FAILED",
		170 - ciliumFirstDrop: "ENCAPSULATION_TRAFFIC_IS_PROHIBITED",
		171 - ciliumFirstDrop: "INVALID_IDENTITY",
		172 - ciliumFirstDrop: "UNKNOWN_SENDER",
		173 - ciliumFirstDrop: "NAT_NOT_NEEDED",
		174 - ciliumFirstDrop: "IS_A_CLUSTERIP",
		175 - ciliumFirstDrop: "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND",
		176 - ciliumFirstDrop: "FORBIDDEN_ICMPV6_MESSAGE",
		177 - ciliumFirstDrop: "DENIED_BY_LB_SRC_RANGE_CHECK",
		178 - ciliumFirstDrop: "SOCKET_LOOKUP_FAILED",
		179 - ciliumFirstDrop: "SOCKET_ASSIGN_FAILED",
		180 - ciliumFirstDrop: "PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL",
		181 - ciliumFirstDrop: "POLICY_DENY",
		182 - ciliumFirstDrop: "VLAN_FILTERED",
		183 - ciliumFirstDrop: "INVALID_VNI",
		184 - ciliumFirstDrop: "INVALID_TC_BUFFER",
		185 - ciliumFirstDrop: "NO_SID",
		186 - ciliumFirstDrop: "MISSING_SRV6_STATE",
		187 - ciliumFirstDrop: "NAT46",
		188 - ciliumFirstDrop: "NAT64",
		189 - ciliumFirstDrop: "AUTH_REQUIRED",
		190 - ciliumFirstDrop: "CT_NO_MAP_FOUND",
		191 - ciliumFirstDrop: "SNAT_NO_MAP_FOUND",
		192 - ciliumFirstDrop: "INVALID_CLUSTER_ID",
		193 - ciliumFirstDrop: "UNSUPPORTED_PROTOCOL_FOR_DSR_ENCAP",
		194 - ciliumFirstDrop: "NO_EGRESS_GATEWAY",
		195 - ciliumFirstDrop: "UNENCRYPTED_TRAFFIC",
		196 - ciliumFirstDrop: "TTL_EXCEEDED",
		197 - ciliumFirstDrop: "NO_NODE_ID",
		198 - ciliumFirstDrop: "DROP_RATE_LIMITED",
		199 - ciliumFirstDrop: "IGMP_HANDLED",
		200 - ciliumFirstDrop: "IGMP_SUBSCRIBED",
		201 - ciliumFirstDrop: "MULTICAST_HANDLED",
		202 - ciliumFirstDrop: "DROP_HOST_NOT_READY",
		203 - ciliumFirstDrop: "DROP_EP_NOT_READY",
		204 - ciliumFirstDrop: "DROP_NO_EGRESS_IP",
		205 - ciliumFirstDrop: "DROP_PUNT_PROXY",
		206 - ciliumFirstDrop: "DROP_NO_DEVICE",
	}
	if i := int(number) - ciliumFirstDrop; i >= 0 && i < len(names) && names[i] != "" {
		return "CILIUM_" + names[i]
	}
	return fmt.Sprintf("CILIUM_%d", number)
}
