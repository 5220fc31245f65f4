//go:build linux && !unit

package dns

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/hook"
	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/vethtest"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

var hooks = []string{hook.TCX, hook.Socket}

// delay is how long the server needs for names that begin with "slow".
const delay = 100 * time.Millisecond

// world is a pod whose peer is a DNS server, a scope and the plugin.
type world struct {
	*testing.T
	pod           *vethtest.Pod
	scope         *scope.Scope
	plugin        *Plugin
	known         map[string]wire.DNSSample // by role, protocol, server, name and type
	lost, ignored map[string]uint64
}

func newWorld(t *testing.T, o scope.Options, ringBytes uint32) *world {
	t.Helper()
	vethtest.NeedHook(t, o.Hook)
	w := &world{T: t, pod: vethtest.NewPod(t), known: map[string]wire.DNSSample{}, lost: map[string]uint64{}, ignored: map[string]uint64{}}
	serve(t, w.pod.Peer, "192.0.2.2:53")
	serve(t, w.pod.Peer, "[2001:db8::2]:53")
	if o.TableEntries == 0 {
		o.TableEntries = 1024
	}
	var err error
	w.scope, err = scope.New(o)
	must(t, err)
	t.Cleanup(func() { w.scope.Close() })
	w.plugin, err = open(w.scope, ringBytes)
	must(t, err)
	t.Cleanup(func() { must(t, w.plugin.Close()) })
	w.add(1, w.pod)
	return w
}

func (w *world) add(id uint32, pod *vethtest.Pod) {
	w.Helper()
	added, failed, err := w.scope.Add([]wire.Target{{ID: id, Name: "pod test/" + pod.UID, PodUID: pod.UID}})
	must(w, err)
	if len(failed) > 0 {
		w.Fatalf("not added: %+v", failed)
	}
	must(w, w.plugin.Attach(added))
}

func (w *world) start() {
	w.Helper()
	must(w, w.plugin.Start())
	must(w, w.scope.Run(true))
}

// sample returns how many entries have changed.
func (w *world) sample() int {
	w.Helper()
	var s wire.Sample
	must(w, w.plugin.Sample(&s))
	for _, e := range s.DNS {
		w.known[fmt.Sprintf("%d %s %d %s %s %s", e.Target, e.Role, e.Protocol, e.Server, e.Name, e.Type)] = e
	}
	for _, l := range s.Lost {
		w.lost[l.What] = l.Count
	}
	for _, i := range s.Stats {
		w.ignored[i.Name] = i.Value
	}
	return len(s.DNS)
}

// expect compares one entry, without its latency.
func (w *world) expect(key string, queries, responses, timeouts uint64, codes map[string]uint64) {
	w.Helper()
	e, ok := w.known[key]
	if !ok {
		w.Errorf("nothing about %q, but %v", key, w.known)
		return
	}
	if e.Queries != queries || e.Responses != responses || e.Timeouts != timeouts || fmt.Sprint(e.Codes) != fmt.Sprint(codes) {
		w.Errorf("%s: %d queries, %d responses, %d timeouts, %v; want %d, %d, %d, %v", key, e.Queries, e.Responses, e.Timeouts, e.Codes, queries, responses, timeouts, codes)
	}
}

// serve answers queries by UDP and TCP: names that begin with "nx" do not exist,
// those that begin with "slow" take their time, "lost" has no answer.
func serve(t *testing.T, ns *hostns.Netns, at string) {
	t.Helper()
	var packets net.PacketConn
	var listener net.Listener
	must(t, ns.Do(func() (err error) {
		if packets, err = net.ListenPacket("udp", at); err == nil {
			listener, err = net.Listen("tcp", at)
		}
		return err
	}))
	var running sync.WaitGroup
	t.Cleanup(func() { packets.Close(); listener.Close(); running.Wait() })
	running.Go(func() {
		b := make([]byte, 4096)
		for {
			n, from, err := packets.ReadFrom(b)
			if err != nil {
				return
			}
			if answer := respond(b[:n]); answer != nil {
				_, _ = packets.WriteTo(answer, from)
			}
		}
	})
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serveTCP(conn) })
		}
	})
}

func serveTCP(conn net.Conn) {
	defer conn.Close()
	for {
		query, err := readFramed(conn)
		if err != nil {
			return
		}
		if answer := respond(query); answer != nil {
			_, _ = conn.Write(framed(answer))
		}
	}
}

func readFramed(r io.Reader) ([]byte, error) {
	length := make([]byte, 2)
	if _, err := io.ReadFull(r, length); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(length))
	_, err := io.ReadFull(r, b)
	return b, err
}

func respond(query []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) == 0 {
		return nil
	}
	m.Response, m.Additionals = true, nil
	switch name := strings.ToLower(m.Questions[0].Name.String()); {
	case strings.HasPrefix(name, "nx"):
		m.RCode = dnsmessage.RCodeNameError
	case strings.HasPrefix(name, "lost"):
		return nil
	case strings.HasPrefix(name, "slow"):
		time.Sleep(delay)
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}

// client is a socket of the pod, or of another netns.
func (w *world) client(network, to string) net.Conn {
	w.Helper()
	var conn net.Conn
	must(w, w.pod.Netns.Do(func() (err error) {
		conn, err = net.Dial(network, to)
		return err
	}))
	w.Cleanup(func() { conn.Close() })
	return conn
}

// ask sends a query and waits for its answer, but not for that to a name that is lost.
func (w *world) ask(conn net.Conn, id uint16, name string, typ dnsmessage.Type) {
	w.Helper()
	query := build(w, id, false, name+".", typ, 0)
	tcp := conn.RemoteAddr().Network() == "tcp"
	if tcp {
		query = framed(query)
	}
	must(w, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err := conn.Write(query)
	must(w, err)
	if strings.HasPrefix(name, "lost") {
		return
	}
	answer := make([]byte, 4096)
	if tcp {
		_, err = readFramed(conn)
	} else {
		_, err = conn.Read(answer)
	}
	must(w, err)
}
