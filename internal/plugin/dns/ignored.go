//go:build linux

package dns

import "github.com/kubectl-retina/kubectl-retina/internal/wire"

// group is the wire.StatSample.Group of what is ignored.
const group = "dns"

// ignorance is why something on port 53 is no part of an exchange. None of these is a
// loss of ours: whoever sends them decides how many there are.
type ignorance uint8

const (
	malformed ignorance = iota // a message that cannot be read
	unmatched                  // a response without a question, to no query that waits
	midstream                  // a TCP segment from the middle of what began before we looked
	ignorances
)

var ignoredNames = [ignorances]string{"malformed_messages", "unmatched_responses", "midstream_segments"}

// ignored counts what is no part of an exchange, by target.
type ignored map[uint32]*struct{ now, sent [ignorances]uint64 }

func (i ignored) add(target uint32, why ignorance) {
	if i[target] == nil {
		i[target] = new(struct{ now, sent [ignorances]uint64 })
	}
	i[target].now[why]++
}

// sampleIgnored appends what has changed since the last call.
func (i ignored) sampleIgnored(into []wire.StatSample) []wire.StatSample {
	for target, counts := range i {
		for why, name := range ignoredNames {
			if counts.now[why] != counts.sent[why] {
				into = append(into, wire.StatSample{Target: target, Group: group, Name: name, Value: counts.now[why]})
			}
		}
		counts.sent = counts.now
	}
	return into
}
