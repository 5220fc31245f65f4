//go:build linux

package packetparser

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	bpf "github.com/kubectl-retina/kubectl-retina/bpf/packetparser"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packetparser/flowtable"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const protocolTCP = 6

// Sample appends what has changed since the last call.
func (p *Plugin) Sample(into *wire.Sample) error {
	now := p.now()
	errs := []error{p.sweep(), p.sampleFlows(now, into), p.sampleLatencies(into), p.sampleLost(into)}
	p.forget()
	return errors.Join(errs...)
}

func (p *Plugin) sampleFlows(now time.Time, into *wire.Sample) error {
	err := p.flows.Read(now, func(k flowtable.Key, f bpf.PacketparserFlow, ended bool) {
		into.Flows = append(into.Flows, flowSample(k, &f, ended))
		if ended {
			delete(p.unanswered, k)
		}
	})
	for k := range p.unanswered {
		if !p.flows.Known(k) { // it had no room: its packets are in Sample.Lost
			delete(p.unanswered, k)
		}
	}
	if err != nil {
		return fmt.Errorf("flows: %w", err)
	}
	return nil
}

// flowSample converts the numbers of one flow.
func flowSample(k flowtable.Key, f *bpf.PacketparserFlow, ended bool) wire.FlowSample {
	s := wire.FlowSample{
		FlowKey:   flowtable.Wire(k),
		PacketsIn: f.In.Packets, BytesIn: f.In.Bytes, PacketsOut: f.Out.Packets, BytesOut: f.Out.Bytes,
		Opened: f.Opened, Unanswered: f.Unanswered, Refused: f.Refused,
		Connect: times(f.Connect), RTT: times(f.Rtt), Ended: ended,
	}
	if k.Protocol == protocolTCP {
		s.FlagsIn, s.FlagsOut = f.In.Flags[:], f.Out.Flags[:]
		s.SegmentsOut = f.Out.Packets + f.Out.MoreSegments
	}
	return s
}

func times(t bpf.PacketparserTimes) wire.Times {
	return wire.Times{Count: t.Count, Sum: t.Sum, Max: t.Max, Last: t.Last}
}

func (p *Plugin) sampleLatencies(into *wire.Sample) error {
	var errs []error
	for target, last := range p.latencies {
		var now bpf.PacketparserLatency
		if err := p.maps.Latencies.Lookup(target, &now); err != nil {
			errs = append(errs, fmt.Errorf("latencies of target %d: %w", target, err))
			continue
		}
		if now == last {
			continue
		}
		p.latencies[target] = now
		into.Latency = append(into.Latency, wire.LatencySample{
			Target: target, Connect: histogram(&now.Connect), RTT: histogram(&now.Rtt),
		})
	}
	return errors.Join(errs...)
}

// histogram leaves out the zeros at the end.
func histogram(h *bpf.PacketparserHistogram) wire.Histogram {
	n := len(h.Buckets)
	for n > 0 && h.Buckets[n-1] == 0 {
		n--
	}
	return wire.Histogram{Sum: h.Sum, Buckets: append([]uint64(nil), h.Buckets[:n]...)}
}

// What could not be counted, as in wire.LostSample.
const (
	lostFlows      = "packets: flow table full"
	lostHandshakes = "handshakes: table full"
)

func (p *Plugin) sampleLost(into *wire.Sample) error {
	var perCPU []bpf.PacketparserLost
	if err := p.maps.Losses.Lookup(uint32(0), &perCPU); err != nil {
		return fmt.Errorf("counts of what was lost: %w", err)
	}
	var lost bpf.PacketparserLost
	for _, l := range perCPU {
		lost.Flows += l.Flows
		lost.Handshakes += l.Handshakes
	}
	for _, l := range []struct {
		what      string
		last, now uint64
	}{{lostFlows, p.lost.Flows, lost.Flows}, {lostHandshakes, p.lost.Handshakes, lost.Handshakes}} {
		if l.now != l.last {
			into.Lost = append(into.Lost, wire.LostSample{Plugin: Name, What: l.what, Count: l.now})
		}
	}
	p.lost = lost
	return nil
}

// forget drops what is kept of targets that are gone, now that it has been sampled.
func (p *Plugin) forget() {
	for _, target := range p.gone {
		// Its programs are detached, so nobody needs the entry.
		if err := p.maps.Latencies.Delete(target); err == nil || errors.Is(err, ebpf.ErrKeyNotExist) {
			delete(p.latencies, target)
		}
	}
	p.gone = nil
}
