//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// minDatagram holds "seq=" and ten digits.
const minDatagram = 14

// udpSend is one run of `traffic udp-send`.
type udpSend struct {
	to    string
	count uint64
	size  int
	rate  uint64 // datagrams a second; 0: as fast as the kernel takes them
}

func newUDPSendCommand() *cobra.Command {
	var o udpSend
	cmd := &cobra.Command{
		Use:   "udp-send --to HOST:PORT",
		Short: "Send numbered UDP datagrams and say how many were sent",
		Long: "Send UDP datagrams whose payload is seq=0000000000, seq=0000000001, and so on, filled up with dots.\n" +
			"The line `sent N` at the end counts the datagrams that the kernel took.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	cmd.Flags().StringVar(&o.to, "to", "", "where to send: host:port")
	cmd.Flags().Uint64Var(&o.count, "count", 1000, "datagrams to send; 0: until a signal")
	cmd.Flags().IntVar(&o.size, "size", 64, fmt.Sprintf("bytes of payload, at least %d", minDatagram))
	cmd.Flags().Uint64Var(&o.rate, "rate", 0, "datagrams a second; 0: as fast as possible")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic(err)
	}
	return cmd
}

func (o udpSend) run(ctx context.Context, out io.Writer) error {
	if o.size < minDatagram || o.size > 65507 {
		return fmt.Errorf("--size %d: want %d to 65507 bytes", o.size, minDatagram)
	}
	address, err := net.ResolveUDPAddr("udp", o.to)
	if err != nil {
		return err
	}
	// Not connected: an ICMP answer would fail a later send that is innocent.
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	start := time.Now()
	sent := uint64(0)
	for ; (o.count == 0 || sent < o.count) && ctx.Err() == nil; sent++ {
		if err := o.pace(ctx, start, sent); err != nil {
			break
		}
		if err := sendOne(ctx, conn, o.payload(sent), address); err != nil {
			return fmt.Errorf("after %d datagrams: %w", sent, err)
		}
	}
	_, err = fmt.Fprintf(out, "sent %d\n", sent)
	return err
}

func (o udpSend) payload(sequence uint64) []byte {
	payload := fmt.Appendf(make([]byte, 0, o.size), "seq=%010d", sequence)
	return append(payload, bytes.Repeat([]byte{'.'}, o.size-len(payload))...)
}

// pace waits until datagram number sequence is due.
func (o udpSend) pace(ctx context.Context, start time.Time, sequence uint64) error {
	if o.rate == 0 {
		return nil
	}
	due := start.Add(time.Duration(float64(sequence) / float64(o.rate) * float64(time.Second)))
	wait := time.Until(due)
	// Timers are coarse: what is due within their error leaves now, in a burst.
	if wait < 200*time.Microsecond {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// sendOne tries again while the device queue is full, so that nothing is lost here.
func sendOne(ctx context.Context, conn *net.UDPConn, payload []byte, to *net.UDPAddr) error {
	for {
		_, err := conn.WriteToUDP(payload, to)
		if !errors.Is(err, syscall.ENOBUFS) || ctx.Err() != nil {
			return err
		}
		time.Sleep(50 * time.Microsecond)
	}
}
