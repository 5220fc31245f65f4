//go:build linux

package collector

import (
	"encoding/json"
	"errors"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// errLargeEntry cannot happen: no entry of a sample is near a frame's size.
var errLargeEntry = errors.New("an entry of a sample is larger than a frame")

// sendSample sends a sample in as many frames as it needs.
func sendSample(send *sender, s wire.Sample) error {
	payload, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if len(payload) <= wire.MaxPayload {
		return send.frame(wire.KindSample, payload)
	}
	first, second := halve(s)
	if entries(first) == 0 || entries(second) == 0 {
		return errLargeEntry
	}
	if err := sendSample(send, first); err != nil {
		return err
	}
	return sendSample(send, second)
}

// halve splits each list of s. What is sent first has More set.
func halve(s wire.Sample) (first, second wire.Sample) {
	first, second = s, s
	first.More = true
	first.Traffic, second.Traffic = cutInTwo(s.Traffic)
	first.Drops, second.Drops = cutInTwo(s.Drops)
	first.Flows, second.Flows = cutInTwo(s.Flows)
	first.Latency, second.Latency = cutInTwo(s.Latency)
	first.Retransmits, second.Retransmits = cutInTwo(s.Retransmits)
	first.DNS, second.DNS = cutInTwo(s.DNS)
	first.Stats, second.Stats = cutInTwo(s.Stats)
	first.APIServers, second.APIServers = cutInTwo(s.APIServers)
	first.Lost, second.Lost = cutInTwo(s.Lost)
	return first, second
}

func cutInTwo[T any](all []T) (first, second []T) { return all[:len(all)/2], all[len(all)/2:] }

func entries(s wire.Sample) int {
	return len(s.Traffic) + len(s.Drops) + len(s.Flows) + len(s.Latency) + len(s.Retransmits) + len(s.DNS) +
		len(s.Stats) + len(s.APIServers) + len(s.Lost)
}
