//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// tcpEcho is one run of `traffic tcp-echo`.
type tcpEcho struct {
	to    string
	bytes int64
}

func newTCPEchoCommand() *cobra.Command {
	var o tcpEcho
	cmd := &cobra.Command{
		Use:   "tcp-echo --to HOST:PORT",
		Short: "Send bytes to an echo server as fast as they go, and check that they come back",
		Long: "Send bytes on one connection as fast as they go, and read what an echo server sends back.\n" +
			"The line `echoed N` at the end counts the bytes that came back as they were sent.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	cmd.Flags().StringVar(&o.to, "to", "", "where to connect: host:port")
	cmd.Flags().Int64Var(&o.bytes, "bytes", 1<<20, "bytes to send")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic(err)
	}
	return cmd
}

func (o tcpEcho) run(ctx context.Context, out io.Writer) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", o.to)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	sent := make(chan error, 1)
	go func() { sent <- o.send(conn) }()
	echoed, err := io.Copy(&pattern{}, conn)
	// The sender may wait for a reader for as long as the connection is open.
	conn.Close()
	if sendErr := <-sent; err == nil {
		err = sendErr
	}
	if err == nil && echoed != o.bytes {
		err = fmt.Errorf("%d bytes came back", echoed)
	}
	if err != nil {
		return fmt.Errorf("echo %d bytes: %w", o.bytes, err)
	}
	_, err = fmt.Fprintf(out, "echoed %d\n", echoed)
	return err
}

func (o tcpEcho) send(conn net.Conn) error {
	if _, err := io.CopyN(conn, &pattern{}, o.bytes); err != nil {
		return err
	}
	closer, ok := conn.(*net.TCPConn)
	if !ok {
		return errors.New("not a TCP connection")
	}
	return closer.CloseWrite()
}

// pattern is an endless sequence of bytes: it can be read, and what is written to
// it must be the same.
type pattern struct{ position byte }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = p.position
		p.position++
	}
	return len(b), nil
}

func (p *pattern) Write(b []byte) (int, error) {
	want := make([]byte, len(b))
	if n, err := p.Read(want); err != nil {
		return n, err
	}
	if !bytes.Equal(b, want) {
		return 0, errors.New("other bytes came back")
	}
	return len(b), nil
}

// tcpConnect is one run of `traffic tcp-connect`.
type tcpConnect struct {
	to      string
	count   int
	timeout time.Duration
}

func newTCPConnectCommand() *cobra.Command {
	var o tcpConnect
	cmd := &cobra.Command{
		Use:   "tcp-connect --to HOST:PORT",
		Short: "Open connections all at once and say what became of them",
		Long:  "Open connections all at once, close them, and print `opened N, refused N, unanswered N`.",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	cmd.Flags().StringVar(&o.to, "to", "", "where to connect: host:port")
	cmd.Flags().IntVar(&o.count, "count", 1, "connections to open")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 20*time.Second, "how long each may take")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic(err)
	}
	return cmd
}

func (o tcpConnect) run(ctx context.Context, out io.Writer) error {
	errs := make([]error, o.count)
	var wait sync.WaitGroup
	for i := range errs {
		wait.Go(func() { errs[i] = o.once(ctx) })
	}
	wait.Wait()
	var opened, refused, unanswered int
	for _, err := range errs {
		switch {
		case err == nil:
			opened++
		case errors.Is(err, syscall.ECONNREFUSED):
			refused++
		case timedOut(err):
			unanswered++
		default:
			return err
		}
	}
	_, err := fmt.Fprintf(out, "opened %d, refused %d, unanswered %d\n", opened, refused, unanswered)
	return err
}

func timedOut(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func (o tcpConnect) once(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: o.timeout}).DialContext(ctx, "tcp", o.to)
	if err != nil {
		return err
	}
	return conn.Close()
}
