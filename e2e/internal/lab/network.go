//go:build linux

package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dial connects to address (an IP address and port) in the network namespace
// of the control plane. It has the type that client-go's rest.Config.Dial
// wants, so a test can talk to the API server without leaving its process.
func (c *Cluster) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return within(c.ControlPlane, func() (net.Conn, error) {
		// A dialer of one literal address opens its socket on this very thread.
		return (&net.Dialer{}).DialContext(ctx, network, address)
	})
}

// freePorts is how often a free port is looked for.
const freePorts = 20

// Listen listens for TCP in the network namespace of the control plane. No address
// means the control plane's, with a port that no outgoing connection is given.
func (c *Cluster) Listen(address netip.AddrPort) (net.Listener, error) {
	// MPTCP, Go's default, knows no socket filters.
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	listen := func(address netip.AddrPort) (net.Listener, error) {
		return within(c.ControlPlane, func() (net.Listener, error) {
			return config.Listen(context.Background(), "tcp", address.String())
		})
	}
	if address.IsValid() {
		return listen(address)
	}
	var l net.Listener
	var err error
	for range freePorts {
		if l, err = listen(netip.AddrPortFrom(c.ControlPlane.IPv4, uint16(10_000+rand.IntN(20_000)))); err == nil {
			break
		}
	}
	return l, err
}

// within does f on a thread in the network namespace of m.
func within[T any](m Machine, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		// Not unlocked: the thread is of the wrong namespace ever after, and
		// ends with this goroutine.
		runtime.LockOSThread()
		var r result
		if r.err = enter(m); r.err == nil {
			r.value, r.err = f()
		}
		done <- r
	}()
	r := <-done
	return r.value, r.err
}

// enter moves this thread into the network namespace of m.
func enter(m Machine) error {
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", m.Init.PID))
	if err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	defer namespace.Close()
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("%s: enter network namespace: %w", m.Name, err)
	}
	return nil
}
