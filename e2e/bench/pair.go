//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

const (
	tcpPort, udpPort = 5201, 5202 // of the server

	streamChunk = 128 << 10 // bytes that the stream's client writes at once
	messageLen  = 64        // bytes of a request, of a response and of a datagram
	// window is how many datagrams are under way at most: fewer than the queue of a
	// CPU holds (net.core.netdev_max_backlog), so that none is lost and the rate is
	// one of packets that arrive.
	window = 8 * batch
	// stuckTime is how long nothing may move before the traffic counts as broken.
	stuckTime = 5 * time.Second
)

// A pair is a client and a server, in two network namespaces that reach each
// other, and this process is both: it has sockets there. Their calls block, on
// threads that stay on one CPU each, because a scheduler's moods cost more than
// what is to be measured.
type pair struct {
	client, server *hostns.Netns
	address        [4]byte // the server's
	listener, sink int     // the server's sockets for TCP and UDP
	packets        uint64  // that the pair has sent and received for sure, both ends together
}

// newPair opens the server's sockets. The caller keeps the network namespaces
// open until close.
func newPair(client, server *hostns.Netns, address netip.Addr) (p *pair, err error) {
	p = &pair{client: client, server: server, address: address.As4(), listener: -1, sink: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	p.listener, err = socketIn(server, unix.SOCK_STREAM, func(socket int) error {
		return errors.Join(
			unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.Bind(socket, &unix.SockaddrInet4{Port: tcpPort}),
			unix.Listen(socket, 1),
		)
	})
	if err != nil {
		return p, fmt.Errorf("listen: %w", err)
	}
	p.sink, err = socketIn(server, unix.SOCK_DGRAM, func(socket int) error {
		return errors.Join(
			unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, mebibyte), // for a window
			unix.Bind(socket, &unix.SockaddrInet4{Port: udpPort}),
		)
	})
	return p, err
}

func (p *pair) close() error {
	var errs []error
	for _, socket := range []int{p.listener, p.sink} {
		if socket >= 0 {
			errs = append(errs, unix.Close(socket))
		}
	}
	return errors.Join(errs...)
}

// socketIn opens a socket in a network namespace and prepares it. None of its
// calls blocks for longer than stuckTime.
func socketIn(where *hostns.Netns, kind int, prepare func(socket int) error) (socket int, err error) {
	err = where.Do(func() (err error) {
		socket, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, err
	}
	// In this order: a connect that a limit bounds is not restarted after a signal.
	if err = errors.Join(prepare(socket), impatient(socket)); err != nil {
		return -1, errors.Join(err, unix.Close(socket))
	}
	return socket, nil
}

func impatient(socket int) error {
	limit := unix.NsecToTimeval(int64(stuckTime))
	return errors.Join(
		unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
	)
}

// connect returns both ends of a new TCP connection.
func (p *pair) connect() (client, server int, err error) {
	client, err = socketIn(p.client, unix.SOCK_STREAM, func(socket int) error {
		return unix.Connect(socket, &unix.SockaddrInet4{Port: tcpPort, Addr: p.address})
	})
	if err != nil {
		return -1, -1, fmt.Errorf("connect: %w", err)
	}
	server, err = again(func() (int, error) {
		socket, _, err := unix.Accept4(p.listener, unix.SOCK_CLOEXEC)
		return socket, err
	})
	if err != nil {
		return -1, -1, errors.Join(fmt.Errorf("accept: %w", err), unix.Close(client))
	}
	err = impatient(server)
	for _, socket := range []int{client, server} {
		err = errors.Join(err, unix.SetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	}
	if err != nil {
		err = errors.Join(err, unix.Close(client), unix.Close(server))
	}
	return client, server, err
}

// again repeats a call until no signal interrupts it: those of a socket with a
// time limit are not restarted by the kernel (signal(7)).
func again(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func read(socket int, p []byte) (int, error) {
	return again(func() (int, error) { return unix.Read(socket, p) })
}

func write(socket int, p []byte) error {
	_, err := again(func() (int, error) { return unix.Write(socket, p) })
	return err
}

// CPUs of the client and the server.
const clientCPU = 0

func serverCPU() int { return runtime.NumCPU() - 1 }

// onCPU runs f on a thread of its own that stays on one CPU.
func onCPU(cpu int, f func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // until the goroutine ends, and the thread with it
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			done <- fmt.Errorf("stay on CPU %d: %w", cpu, err)
			return
		}
		done <- f()
	}()
	return done
}

// overTCP runs a client and a server of one connection to their ends. The server
// ends when the client has nothing more to send.
func (p *pair) overTCP(client, server func(socket int) error) error {
	ours, theirs, err := p.connect()
	if err != nil {
		return err
	}
	served := onCPU(serverCPU(), func() error { return server(theirs) })
	err = <-onCPU(clientCPU, func() error {
		return errors.Join(client(ours), unix.Shutdown(ours, unix.SHUT_WR))
	})
	return errors.Join(err, <-served, unix.Close(ours), unix.Close(theirs))
}

// stream sends as much as it can by one TCP connection for a while. It returns
// bytes a second, from the first written to the last read.
func (p *pair) stream(d time.Duration) (rate float64, err error) {
	var received uint64
	start := time.Now()
	err = p.overTCP(func(socket int) error {
		chunk := make([]byte, streamChunk)
		for time.Since(start) < d {
			if err := write(socket, chunk); err != nil {
				return fmt.Errorf("stream: write: %w", err)
			}
		}
		return nil
	}, func(socket int) error {
		chunk := make([]byte, 2*streamChunk)
		for {
			n, err := read(socket, chunk)
			if err != nil || n == 0 {
				return err
			}
			received += uint64(n)
		}
	})
	return float64(received) / time.Since(start).Seconds(), err
}

// trips sends requests by one TCP connection for a while, each when the response
// to the one before has come. It returns the time of each round trip in µs, and
// how many there were a second.
func (p *pair) trips(d time.Duration) (rate float64, micros sample, err error) {
	start := time.Now()
	err = p.overTCP(func(socket int) error {
		message := make([]byte, messageLen)
		for now := start; now.Sub(start) < d; {
			began := now
			if err := write(socket, message); err != nil {
				return fmt.Errorf("request: %w", err)
			}
			switch n, err := read(socket, message); {
			case err != nil:
				return fmt.Errorf("response: %w", err)
			case n != messageLen:
				return fmt.Errorf("response has %d bytes, want %d", n, messageLen)
			}
			now = time.Now()
			micros = append(micros, float64(now.Sub(began))/1e3)
		}
		return nil
	}, func(socket int) error {
		message := make([]byte, messageLen)
		for {
			n, err := read(socket, message)
			if err != nil || n == 0 {
				return err
			}
			if err := write(socket, message[:n]); err != nil {
				return fmt.Errorf("respond: %w", err)
			}
		}
	})
	p.packets += 4 * uint64(len(micros)) // a request and a response, at two ends
	return float64(len(micros)) / time.Since(start).Seconds(), micros, err
}
