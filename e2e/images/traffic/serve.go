//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/spf13/cobra"
)

// server holds what one `traffic serve` listens on.
type server struct {
	http     net.Listener
	sink     net.PacketConn
	echo     net.Listener
	received atomic.Uint64 // datagrams that reached sink
}

func newServeCommand() *cobra.Command {
	var httpAddress, sinkAddress, echoAddress string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Answer HTTP, count UDP datagrams, echo TCP",
		Long: "Answer HTTP with the host's name, count UDP datagrams (GET /received tells how many), echo TCP.\n" +
			"Runs until it is ended by a signal.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := listen(httpAddress, sinkAddress, echoAddress)
			if err != nil {
				return err
			}
			return s.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&httpAddress, "http", ":8080", "address of the HTTP server")
	cmd.Flags().StringVar(&sinkAddress, "udp", ":9090", "address that counts UDP datagrams")
	cmd.Flags().StringVar(&echoAddress, "echo", ":9091", "address that sends back what it gets by TCP")
	return cmd
}

func listen(httpAddress, sinkAddress, echoAddress string) (s *server, err error) {
	s = new(server)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.http, err = net.Listen("tcp", httpAddress); err != nil {
		return s, err
	}
	if s.sink, err = net.ListenPacket("udp", sinkAddress); err != nil {
		return s, err
	}
	// Best effort: the kernel caps it at net.core.rmem_max.
	if conn, ok := s.sink.(*net.UDPConn); ok {
		err = conn.SetReadBuffer(8 << 20)
	}
	if err != nil {
		return s, err
	}
	s.echo, err = net.Listen("tcp", echoAddress)
	return s, err
}

func (s *server) close() {
	if s.http != nil {
		s.http.Close()
	}
	if s.sink != nil {
		s.sink.Close()
	}
	if s.echo != nil {
		s.echo.Close()
	}
}

// run serves until ctx is done or one of the servers fails.
func (s *server) run(ctx context.Context) error {
	errs := make(chan error, 3)
	go func() { errs <- http.Serve(s.http, s.handler()) }()
	go func() { errs <- s.count() }()
	go func() { errs <- s.echoAll() }()
	defer s.close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-errs:
		return err
	}
}

func (s *server) handler() http.Handler {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s answers %s\n", host, r.URL.Path)
	})
	mux.HandleFunc("GET /received", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, s.received.Load())
	})
	return mux
}

func (s *server) count() error {
	buffer := make([]byte, 64<<10)
	for {
		if _, _, err := s.sink.ReadFrom(buffer); err != nil {
			return err
		}
		s.received.Add(1)
	}
}

func (s *server) echoAll() error {
	for {
		conn, err := s.echo.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			continue
		}
		go func() {
			defer conn.Close()
			// A client that goes away in the middle is no failure of the server.
			_, _ = io.Copy(conn, conn)
		}()
	}
}
