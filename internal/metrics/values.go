package metrics

import (
	"slices"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const numCounters = 17 + 2*wire.NumFlags

// counters returns the plain counters of v, always in the same order.
func (v *Values) counters() [numCounters]*uint64 {
	all := [numCounters]*uint64{
		&v.PacketsIn, &v.PacketsOut, &v.BytesIn, &v.BytesOut,
		&v.Drops, &v.DropBytes, &v.Retransmits, &v.SegmentsOut,
		&v.Opened, &v.Unanswered, &v.Refused, &v.ResetsIn, &v.ResetsOut,
		&v.DNSQueries, &v.DNSResponses, &v.DNSErrors, &v.DNSTimeouts,
	}
	for i := range wire.NumFlags {
		all[17+i], all[17+wire.NumFlags+i] = &v.FlagsIn[i], &v.FlagsOut[i]
	}
	return all
}

// histograms returns those of v, always in the same order.
func (v *Values) histograms() [3]*wire.Histogram {
	return [3]*wire.Histogram{&v.Connect, &v.RTT, &v.DNSLatency}
}

func (v *Values) times() [2]*wire.Times {
	return [2]*wire.Times{&v.ConnectTimes, &v.RTTTimes}
}

// Add adds w to v.
func (v *Values) Add(w *Values) {
	theirs := w.counters()
	for i, counter := range v.counters() {
		*counter = plus(*counter, *theirs[i])
	}
	others := w.histograms()
	for i, h := range v.histograms() {
		if len(others[i].Buckets) > 0 || others[i].Sum > 0 {
			*h = Merge(*h, *others[i])
		}
	}
	times := w.times()
	for i, t := range v.times() {
		*t = addTimes(*t, *times[i])
	}
}

// since returns what has come to before, or all of v when one of its numbers has
// gone down: then what it counts has begun anew.
func (v *Values) since(before *Values) Values {
	rest := *v
	theirs := before.counters()
	for i, counter := range rest.counters() {
		if *counter < *theirs[i] {
			return *v
		}
		*counter -= *theirs[i]
	}
	others := before.histograms()
	for i, h := range rest.histograms() {
		var grown bool
		if *h, grown = subtract(*h, *others[i]); !grown {
			return *v
		}
	}
	times := before.times()
	for i, t := range rest.times() {
		var grown bool
		if *t, grown = subtractTimes(*t, *times[i]); !grown {
			return *v
		}
	}
	return rest
}

// addTimes adds up. The last time is known only if one of the two has none.
func addTimes(a, b wire.Times) wire.Times {
	switch {
	case a.Count == 0:
		return b
	case b.Count == 0:
		return a
	}
	return wire.Times{Count: plus(a.Count, b.Count), Sum: plus(a.Sum, b.Sum), Max: max(a.Max, b.Max)}
}

// subtractTimes keeps the maximum of after, which is an upper bound for the time
// between the two.
func subtractTimes(after, before wire.Times) (wire.Times, bool) {
	if after.Count < before.Count || after.Sum < before.Sum {
		return after, false
	}
	rest := wire.Times{Count: after.Count - before.Count, Sum: after.Sum - before.Sum}
	if rest.Count > 0 {
		rest.Max, rest.Last = after.Max, after.Last
	}
	return rest, true
}

// Values returns the numbers of a flow as those of a target.
func (f *FlowValues) Values() Values {
	v := Values{
		PacketsIn: f.PacketsIn, PacketsOut: f.PacketsOut, BytesIn: f.BytesIn, BytesOut: f.BytesOut,
		Opened: f.Opened, Unanswered: f.Unanswered, Refused: f.Refused, Retransmits: f.Retransmits,
		SegmentsOut: f.SegmentsOut, ConnectTimes: f.Connect, RTTTimes: f.RTT,
	}
	copy(v.FlagsIn[:], f.FlagsIn)
	copy(v.FlagsOut[:], f.FlagsOut)
	v.ResetsIn, v.ResetsOut = v.FlagsIn[wire.FlagRST], v.FlagsOut[wire.FlagRST]
	return v
}

// sumFlows shares nothing with a and b.
func sumFlows(a, b FlowValues) FlowValues {
	return FlowValues{
		PacketsIn: plus(a.PacketsIn, b.PacketsIn), PacketsOut: plus(a.PacketsOut, b.PacketsOut),
		BytesIn: plus(a.BytesIn, b.BytesIn), BytesOut: plus(a.BytesOut, b.BytesOut),
		FlagsIn: sumFlags(a.FlagsIn, b.FlagsIn), FlagsOut: sumFlags(a.FlagsOut, b.FlagsOut),
		Opened: plus(a.Opened, b.Opened), Unanswered: plus(a.Unanswered, b.Unanswered), Refused: plus(a.Refused, b.Refused),
		Connect: addTimes(a.Connect, b.Connect), RTT: addTimes(a.RTT, b.RTT),
		SegmentsOut: plus(a.SegmentsOut, b.SegmentsOut), Retransmits: plus(a.Retransmits, b.Retransmits),
	}
}

func sumFlags(a, b []uint64) []uint64 {
	if len(a) < len(b) {
		a, b = b, a
	}
	sum := slices.Clone(a)
	for i, c := range b {
		sum[i] = plus(sum[i], c)
	}
	return sum
}

// since is as of Values.
func (f *FlowValues) since(before *FlowValues) FlowValues {
	x, y := f.Values(), before.Values()
	rest := x.since(&y)
	diff := FlowValues{
		PacketsIn: rest.PacketsIn, PacketsOut: rest.PacketsOut, BytesIn: rest.BytesIn, BytesOut: rest.BytesOut,
		Opened: rest.Opened, Unanswered: rest.Unanswered, Refused: rest.Refused,
		Connect: rest.ConnectTimes, RTT: rest.RTTTimes, SegmentsOut: rest.SegmentsOut, Retransmits: rest.Retransmits,
	}
	if len(f.FlagsIn) > 0 {
		diff.FlagsIn = slices.Clone(rest.FlagsIn[:min(len(f.FlagsIn), wire.NumFlags)])
	}
	if len(f.FlagsOut) > 0 {
		diff.FlagsOut = slices.Clone(rest.FlagsOut[:min(len(f.FlagsOut), wire.NumFlags)])
	}
	return diff
}
