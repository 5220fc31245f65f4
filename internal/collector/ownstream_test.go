//go:build linux

package collector

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/packets"
)

// relays are the connections of a node that carry a stream, one after another.
type relays struct {
	arrives map[packets.Flow]time.Duration // after it was sent
	sent    []sending
}

type sending struct {
	at   time.Time
	size int
}

func (r *relays) send(size int) error {
	r.sent = append(r.sent, sending{time.Now(), size})
	return nil
}

func (r *relays) sockets() (map[packets.Flow]packets.Moved, error) {
	moved := make(map[packets.Flow]packets.Moved)
	for flow, after := range r.arrives {
		var m packets.Moved
		for _, s := range r.sent {
			if time.Since(s.at) >= after {
				m.Sent += uint64(s.size) + 400 // framing
			}
		}
		moved[flow] = m
	}
	return moved, nil
}

func between(local, remote string) packets.Flow {
	return packets.Flow{Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote)}
}

// The stream passes a node's connections one after another, and on a busy node
// there is time between them: all of them are to be found.
func TestFindOwnStream(t *testing.T) {
	toKubelet, fromRuntime := between("127.0.0.1:37447", "127.0.0.1:41376"), between("127.0.0.1:41376", "127.0.0.1:37447")
	toServer, fromKubelet := between("192.0.2.1:10250", "192.0.2.1:58030"), between("192.0.2.1:58030", "192.0.2.1:10250")
	toUser := between("192.0.2.1:6443", "198.51.100.7:50000")
	toOtherServer := between("192.0.2.1:10250", "192.0.2.9:58030")
	idle := between("192.0.2.1:10250", "192.0.2.9:50001")
	const never = time.Hour
	for name, test := range map[string]struct {
		arrives map[packets.Flow]time.Duration
		want    []packets.Flow
		within  time.Duration
	}{
		"at once": {map[packets.Flow]time.Duration{toKubelet: 0, fromRuntime: 0, toOtherServer: 0, idle: never},
			[]packets.Flow{toKubelet, fromRuntime, toOtherServer}, 20 * time.Millisecond},
		"a busy kubelet": {map[packets.Flow]time.Duration{toKubelet: 0, fromRuntime: 20 * time.Millisecond, toOtherServer: 300 * time.Millisecond, idle: never},
			[]packets.Flow{toKubelet, fromRuntime, toOtherServer}, time.Second},
		"a busy control plane": {map[packets.Flow]time.Duration{
			toKubelet: 0, fromRuntime: 0, toServer: 100 * time.Millisecond, fromKubelet: 100 * time.Millisecond, toUser: 400 * time.Millisecond, idle: never},
			[]packets.Flow{toKubelet, fromRuntime, toServer, fromKubelet, toUser}, time.Second},
		"a kubelet without CPU time": {map[packets.Flow]time.Duration{toKubelet: 0, fromRuntime: 20 * time.Millisecond, toOtherServer: 1500 * time.Millisecond, idle: never},
			[]packets.Flow{toKubelet, fromRuntime, toOtherServer}, 4 * time.Second},
		"a user on the node": {map[packets.Flow]time.Duration{toKubelet: 0, fromRuntime: 0, toServer: 100 * time.Millisecond, fromKubelet: 100 * time.Millisecond, idle: never},
			[]packets.Flow{toKubelet, fromRuntime, toServer, fromKubelet}, 2500 * time.Millisecond},
		"nothing": {map[packets.Flow]time.Duration{idle: never}, nil, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				r := &relays{arrives: test.arrives}
				got, err := findOwnStream(r.send, r.sockets)
				if err != nil || len(got) != len(test.want) || slices.ContainsFunc(test.want, func(f packets.Flow) bool { return !slices.Contains(got, f) }) {
					t.Errorf("found %v, %v; want %v", got, err, test.want)
				}
				if took := time.Since(began); took > test.within {
					t.Errorf("it took %s, want %s at most", took, test.within)
				}
			})
		})
	}
}
