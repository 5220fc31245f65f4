package exposition

import (
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A filler puts what a report has of a metric into its family.
type filler func(f *family, r *metrics.Report)

// fillers returns those of all metrics, by the catalogue's names.
func fillers() map[string]filler {
	all := map[string]filler{
		"forward_count_total":     traffic(packets),
		"forward_bytes_total":     traffic(octets),
		"adv_forward_count_total": traffic(packets),
		"adv_forward_bytes_total": traffic(octets),

		"drop_count_total":     drops(droppedPackets),
		"drop_bytes_total":     drops(droppedBytes),
		"adv_drop_count_total": drops(droppedPackets),
		"adv_drop_bytes_total": drops(droppedBytes),

		"adv_tcpflags_count_total":   flags,
		"adv_tcp_segments_total":     segments,
		"adv_tcp_connections_total":  connections,
		"adv_tcp_connect_seconds":    podTimes(func(v *metrics.Values) wire.Histogram { return v.Connect }),
		"adv_tcp_rtt_seconds":        podTimes(func(v *metrics.Values) wire.Histogram { return v.RTT }),
		"adv_tcpretrans_count_total": retransmits,

		"dns_request_count_total":      dns(queries),
		"dns_response_count_total":     dns(responses),
		"adv_dns_request_count_total":  dns(queries),
		"adv_dns_response_count_total": dns(responses),
		"adv_dns_timeouts_total":       dns(timeouts),
		"adv_dns_ignored_total":        stats(statistic),
		"adv_dns_latency_seconds":      podTimes(func(v *metrics.Values) wire.Histogram { return v.DNSLatency }),

		"tcp_state":                      stats(tcpState),
		"tcp_connection_stats_total":     stats(statistic),
		"ip_connection_stats_total":      stats(statistic),
		"udp_connection_stats":           stats(udpSockets),
		"udp_stats_total":                stats(statistic),
		"interface_stats_total":          stats(ofInterface),
		"conntrack_total_connections":    stats(only("count")),
		"conntrack_max":                  stats(only("max")),
		"conntrack_stats_total":          stats(statistic),
		"adv_tcp_state":                  stats(tcpState),
		"adv_tcp_connection_stats_total": stats(statistic),
		"adv_ip_connection_stats_total":  stats(statistic),
		"adv_udp_stats_total":            stats(statistic),
		"adv_interface_stats_total":      stats(ofInterface),

		"adv_node_apiserver_latency":               apiTimes(func(a *metrics.APIServer) wire.Histogram { return a.Latency }),
		"adv_node_apiserver_tcp_handshake_latency": apiTimes(func(a *metrics.APIServer) wire.Histogram { return a.Handshake }),
		"adv_node_apiserver_no_response_total":     apiTimeouts,
		"node_apiserver_attempts_total":            apiAttempts,
		"node_apiserver_errors_total":              apiErrors,

		"lost_total":     lost,
		"unsupported":    unsupported,
		"collector_up":   up,
		"pods":           pods,
		"not_measured":   notMeasured,
		"series":         func(*family, *metrics.Report) {}, // known when all others are
		"series_limited": func(*family, *metrics.Report) {},
	}
	prefixed := make(map[string]filler, len(all))
	for name, fill := range all {
		prefixed["networkobservability_"+name] = fill
	}
	return prefixed
}
