//go:build linux

package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// datagrams sends small UDP datagrams for a while, as fast as they arrive. It
// returns how many arrived a second; all that were sent have arrived.
func (p *pair) datagrams(d time.Duration) (rate float64, err error) {
	client, err := socketIn(p.client, unix.SOCK_DGRAM, func(socket int) error {
		return unix.Connect(socket, &unix.SockaddrInet4{Port: udpPort, Addr: p.address})
	})
	if err != nil {
		return 0, fmt.Errorf("datagrams: %w", err)
	}
	defer unix.Close(client)
	var arrived, total atomic.Uint64 // total is known, not 0, once all are sent
	start := time.Now()
	served := onCPU(serverCPU(), func() error { return receive(p.sink, &arrived, &total) })
	err = <-onCPU(clientCPU, func() error {
		sent, err := send(client, &arrived, start.Add(d))
		total.Store(sent + 1)
		lastErr := write(client, make([]byte, messageLen)) // for a server that waits already
		return errors.Join(err, lastErr)
	})
	err = errors.Join(err, <-served)
	p.packets += 2 * arrived.Load()
	return float64(arrived.Load()) / time.Since(start).Seconds(), err
}

// send sends datagrams until a time, and has no more than window under way.
func send(socket int, arrived *atomic.Uint64, until time.Time) (sent uint64, err error) {
	messages := newMessages()
	moved := time.Now()
	for {
		now := time.Now()
		switch {
		case now.After(until):
			return sent, nil
		case sent-arrived.Load() <= window-batch:
		case now.Sub(moved) > stuckTime:
			return sent, fmt.Errorf("datagrams: %d of %d did not arrive", sent-arrived.Load(), sent)
		default:
			// Not Gosched: it is slow on a thread of one's own.
			_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			continue
		}
		n, err := sendmmsg(socket, messages)
		if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS) {
			return sent, fmt.Errorf("datagrams: sendmmsg: %w", err)
		}
		sent, moved = sent+uint64(n), now
	}
}

// receive receives datagrams until all have arrived.
func receive(socket int, arrived, total *atomic.Uint64) error {
	messages := newMessages()
	for {
		if all := total.Load(); all != 0 && arrived.Load() >= all {
			return nil
		}
		n, err := again(func() (int, error) { return recvmmsg(socket, messages) })
		if err != nil {
			return fmt.Errorf("datagrams: recvmmsg after %d: %w", arrived.Load(), err)
		}
		arrived.Add(uint64(n))
	}
}

// newMessages returns a batch of messages with room for a datagram each.
func newMessages() []message {
	messages := make([]message, batch)
	for i := range messages {
		payload := make([]byte, messageLen)
		messages[i].header.Iov = &unix.Iovec{Base: &payload[0], Len: messageLen}
		messages[i].header.Iovlen = 1
	}
	return messages
}

// recvmmsg waits for a message and returns how many have come.
func recvmmsg(socket int, messages []message) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(socket), uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), unix.MSG_WAITFORONE, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
