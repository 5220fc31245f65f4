package metrics

import (
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// numbers returns the columns of numbers, in the order of files.
func numbers() []Column {
	traffic := []string{PluginForward, PluginFlows}
	flows := []string{PluginFlows}
	all := []Column{
		counter("packets", "in both directions", traffic, func(v *Values) uint64 { return plus(v.PacketsIn, v.PacketsOut) }),
		counter("packets_in", "towards the target", traffic, func(v *Values) uint64 { return v.PacketsIn }),
		counter("packets_out", "from the target", traffic, func(v *Values) uint64 { return v.PacketsOut }),
		counter("bytes", "in both directions", traffic, func(v *Values) uint64 { return plus(v.BytesIn, v.BytesOut) }),
		counter("bytes_in", "towards the target", traffic, func(v *Values) uint64 { return v.BytesIn }),
		counter("bytes_out", "from the target", traffic, func(v *Values) uint64 { return v.BytesOut }),
		counter("drops", "packets that the kernel has thrown away", []string{PluginDrops}, func(v *Values) uint64 { return v.Drops }),
		counter("drop_bytes", "of dropped packets", []string{PluginDrops}, func(v *Values) uint64 { return v.DropBytes }),
		counter("retransmits", "TCP segments sent again", []string{PluginRetransmit}, func(v *Values) uint64 { return v.Retransmits }),
		counter("segments_out", "TCP segments sent", []string{PluginStats, PluginFlows}, func(v *Values) uint64 { return v.SegmentsOut }),
		{
			Name: "retransmit_ratio", Help: "of the TCP segments sent, the part sent again", Unit: UnitRatio,
			Plugins: []string{PluginRetransmit}, Number: func(v *Values) (float64, bool) { return ratio(v.Retransmits, v.SegmentsOut) },
		},
		counter("resets", "TCP resets in both directions", flows, func(v *Values) uint64 { return plus(v.ResetsIn, v.ResetsOut) }),
		counter("resets_in", "TCP resets received", flows, func(v *Values) uint64 { return v.ResetsIn }),
		counter("resets_out", "TCP resets sent", flows, func(v *Values) uint64 { return v.ResetsOut }),
		counter("connects", "TCP connections established", flows, func(v *Values) uint64 { return v.Opened }),
		counter("connect_failures", "TCP connections unanswered or refused", flows, func(v *Values) uint64 { return plus(v.Unanswered, v.Refused) }),
		counter("unanswered", "SYNs without an answer in 3 s", flows, func(v *Values) uint64 { return v.Unanswered }),
		counter("refused", "SYNs answered by a reset", flows, func(v *Values) uint64 { return v.Refused }),
	}
	all = append(all, times("connect", "from SYN to SYN-ACK", flows, connectOf)...)
	all = append(all, times("rtt", "smoothed round trip of TCP", flows, rttOf)...)
	dns := []string{PluginDNS}
	all = append(all,
		counter("dns_queries", "questions asked, or answered by the target", dns, func(v *Values) uint64 { return v.DNSQueries }),
		counter("dns_responses", "answers", dns, func(v *Values) uint64 { return v.DNSResponses }),
		counter("dns_errors", "answers with another code than NOERROR", dns, func(v *Values) uint64 { return v.DNSErrors }),
		counter("dns_timeouts", "questions without an answer in 5 s", dns, func(v *Values) uint64 { return v.DNSTimeouts }),
		Column{
			Name: "dns_error_ratio", Help: "of the answers, the part with an error", Unit: UnitRatio,
			Plugins: dns, Number: func(v *Values) (float64, bool) { return ratio(v.DNSErrors, v.DNSResponses) },
		},
	)
	return append(all, times("dns", "from question to answer", dns, func(v *Values) (wire.Histogram, wire.Times) {
		return v.DNSLatency, wire.Times{}
	})...)
}

func counter(name, help string, plugins []string, count func(*Values) uint64) Column {
	unit := UnitCount
	if strings.Contains(name, "bytes") {
		unit = UnitBytes
	}
	return Column{Name: name, Help: help, Unit: unit, Plugins: plugins, Count: count}
}

func connectOf(v *Values) (wire.Histogram, wire.Times) { return v.Connect, v.ConnectTimes }
func rttOf(v *Values) (wire.Histogram, wire.Times)     { return v.RTT, v.RTTTimes }

// times returns the columns of measured times: quantiles from their histogram,
// mean and maximum as exact as they are known.
func times(name, help string, plugins []string, of func(*Values) (wire.Histogram, wire.Times)) []Column {
	var all []Column
	for _, q := range []struct {
		suffix string
		q      float64
	}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}} {
		all = append(all, Column{
			Name: name + "_" + q.suffix, Help: help + ", " + q.suffix, Unit: UnitTime, Plugins: plugins,
			Number: func(v *Values) (float64, bool) {
				h, _ := of(v)
				return Quantile(h, q.q)
			},
		})
	}
	return append(all,
		Column{
			Name: name + "_mean", Help: help + ", mean", Unit: UnitTime, Plugins: plugins,
			Number: func(v *Values) (float64, bool) { return MeanTime(of(v)) },
		},
		Column{
			Name: name + "_max", Help: help + ", maximum", Unit: UnitTime, Plugins: plugins,
			Number: func(v *Values) (float64, bool) { return MaxTime(of(v)) },
		},
	)
}

// MeanTime returns the mean in µs of times of which there is a histogram, a sum,
// or both; false if there are none.
func MeanTime(h wire.Histogram, t wire.Times) (float64, bool) {
	if t.Count > 0 {
		return float64(t.Sum) / float64(t.Count), true
	}
	return Mean(h)
}

// MaxTime returns the largest of such times in µs. Of a histogram alone, it is the
// upper bound of the last bucket.
func MaxTime(h wire.Histogram, t wire.Times) (float64, bool) {
	if t.Max > 0 {
		return float64(t.Max), true
	}
	return Quantile(h, 1)
}

func ratio(part, all uint64) (float64, bool) {
	if all == 0 {
		return 0, false
	}
	return float64(part) / float64(all), true
}
