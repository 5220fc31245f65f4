//go:build linux

package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

const (
	// listening is how long the pod's main process may take to listen: an exec may
	// come before it has begun.
	listening = 10 * time.Second
	dialRetry = 20 * time.Millisecond
)

// Attach connects the standard streams with the keeper of this pod, until the
// keeper ends the conversation. The end of stdin is passed on.
func Attach(ctx context.Context, socket string, stdin io.Reader, stdout io.Writer) error {
	conn, err := dial(ctx, socket)
	if err != nil {
		return fmt.Errorf("connect to the keeper of this pod: %w", err)
	}
	defer conn.Close()
	go func() {
		// What goes wrong here, the keeper notices as the end of the stream.
		_, _ = io.Copy(conn, stdin)
		_ = conn.CloseWrite()
	}()
	_, err = io.Copy(stdout, conn)
	return err
}

// dial waits for the socket.
func dial(ctx context.Context, socket string) (*net.UnixConn, error) {
	for deadline := time.Now().Add(listening); ; {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
		if err == nil {
			return conn, nil
		}
		soon := errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED)
		if !soon || time.Now().After(deadline) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(dialRetry):
		}
	}
}
