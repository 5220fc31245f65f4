package metrics

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/target/follow"
)

const (
	// serversAge is how old the API server's addresses may be when a collector starts:
	// those that start together share one reading.
	serversAge = 30 * time.Second
	// serversTime bounds one reading. A collector starts without, if need be.
	serversTime = 10 * time.Second
)

// A serverList has the API server's addresses, which change while a long command
// runs. It may be used concurrently.
type serverList struct {
	read func(context.Context) ([]netip.AddrPort, error)
	now  func() time.Time

	mu    sync.Mutex
	known []netip.AddrPort
	at    time.Time // of the last reading; zero: there was none
}

func newServerList(client kubernetes.Interface, now func() time.Time) *serverList {
	read := func(ctx context.Context) ([]netip.AddrPort, error) { return follow.APIServers(ctx, client) }
	return &serverList{read: read, now: now}
}

// current returns the addresses, read again when they are old. With an error they
// are those that were known before, or what could be found.
func (l *serverList) current(ctx context.Context) ([]netip.AddrPort, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.at.IsZero() && l.now().Sub(l.at) < serversAge {
		return l.known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, serversTime)
	defer cancel()
	found, err := l.read(ctx)
	l.at = l.now()
	if err == nil || len(l.known) == 0 {
		l.known = found
	}
	return l.known, err
}

// measuresServers tells whether the addresses are needed, and with them the right to
// read them.
func (o *observer) measuresServers() bool {
	return slices.Contains(o.plugins, metrics.PluginAPIServer)
}

// readServers reads the addresses for the first collectors.
func (o *observer) readServers(ctx context.Context) error {
	if !o.measuresServers() {
		return nil
	}
	_, err := o.servers.current(ctx)
	return err
}

// apiServers are the addresses for a collector that starts now.
func (o *observer) apiServers(ctx context.Context) []netip.AddrPort {
	if !o.measuresServers() {
		return nil
	}
	addresses, err := o.servers.current(ctx)
	if err != nil && ctx.Err() == nil {
		o.warnOfServers(err)
	}
	return addresses
}

func (o *observer) warnOfServers(err error) {
	o.warn("not all addresses of the API server are measured: " + err.Error())
}
