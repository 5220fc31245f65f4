//go:build linux

// Package apiserver measures how the node reaches the API server: each second it
// connects to each of its addresses, from the network that the collector itself is
// in, which is the node's. It asks nothing and proves nothing: no request is made and
// no credential sent.
package apiserver

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/plugin/scope"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Name is the plugin's name in plugins.yaml.
const Name = "apiserver"

const (
	period  = time.Second     // from one attempt to the next, if it is over by then
	timeout = 3 * time.Second // of the TCP handshake, and again of the TLS hello
)

// A Plugin connects from Start to Close.
type Plugin struct {
	addresses []*address
	stop      context.CancelFunc
	running   sync.WaitGroup
}

// address is what has been measured of one address.
type address struct {
	to      netip.AddrPort
	mu      sync.Mutex
	total   wire.APIServerSample
	changed bool
	lost    uint64 // attempts that this process could not make
	told    uint64 // of these, as of the last sample
}

// Open connects to nobody yet.
func Open(s *scope.Scope) (*Plugin, error) {
	p := &Plugin{}
	for _, to := range s.Options().APIServers {
		p.addresses = append(p.addresses, &address{to: to, total: wire.APIServerSample{Address: to}})
	}
	return p, nil
}

// Attach does nothing: the path to the API server is the node's, whatever is
// measured there.
func (p *Plugin) Attach([]scope.Interface) error { return nil }

// Detach does nothing.
func (p *Plugin) Detach([]uint32) {}

// Start begins connecting, until Close.
func (p *Plugin) Start() error {
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // until Close, whoever starts it
	p.stop = stop
	for _, a := range p.addresses {
		p.running.Go(func() { a.keepTrying(ctx) })
	}
	return nil
}

// keepTrying makes one attempt after the other. One that takes longer than a period
// delays the next.
func (a *address) keepTrying(ctx context.Context) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		result := attempt(ctx, a.to)
		if ctx.Err() != nil {
			return // it may have failed just because of that
		}
		a.add(result)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (a *address) add(r result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.err == errOurs {
		a.lost++
		return
	}
	a.changed = true
	a.total.Attempts++
	if r.handshake > 0 {
		a.total.Handshake.Observe(r.handshake)
	}
	if r.err == "" {
		a.total.Latency.Observe(r.latency)
		return
	}
	if a.total.Errors == nil {
		a.total.Errors = make(map[string]uint64)
	}
	a.total.Errors[r.err]++
}

// Sample appends the addresses that have been tried since the last call.
func (p *Plugin) Sample(into *wire.Sample) error {
	var lost, told uint64
	for _, a := range p.addresses {
		a.mu.Lock()
		if a.changed {
			a.changed = false
			into.APIServers = append(into.APIServers, clone(&a.total))
		}
		lost, told = lost+a.lost, told+a.told
		a.told = a.lost
		a.mu.Unlock()
	}
	if lost != told {
		into.Lost = append(into.Lost, wire.LostSample{Plugin: Name, What: "attempts: the node has no port, file or memory left", Count: lost})
	}
	return nil
}

func clone(s *wire.APIServerSample) wire.APIServerSample {
	c := *s
	c.Errors = maps.Clone(s.Errors)
	c.Handshake.Buckets = append([]uint64(nil), s.Handshake.Buckets...)
	c.Latency.Buckets = append([]uint64(nil), s.Latency.Buckets...)
	return c
}

// Missing says that there is nobody to connect to, if that is so.
func (p *Plugin) Missing() []wire.PluginError {
	if len(p.addresses) > 0 {
		return nil
	}
	return []wire.PluginError{{
		Plugin: Name, Cause: "no address of the API server is known",
		Hint: "check that you may read the EndpointSlices of the service default/kubernetes: kubectl auth can-i list endpointslices -n default",
	}}
}

// Close ends all attempts at once.
func (p *Plugin) Close() error {
	if p.stop != nil {
		p.stop()
	}
	p.running.Wait()
	return nil
}

// reason says in one word why an attempt failed.
func reason(err error, otherwise string) string {
	for _, known := range reasons {
		if errors.Is(err, known.err) {
			return known.word
		}
	}
	return otherwise
}
