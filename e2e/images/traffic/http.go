//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// httpGet is one run of `traffic http-get`.
type httpGet struct {
	url    string
	every  time.Duration
	count  uint64
	client *http.Client
}

func newHTTPGetCommand() *cobra.Command {
	o := httpGet{client: &http.Client{
		// TCP sends a lost SYN for the fourth time after 7 s: a request that fails
		// was not unlucky, and not on a machine that had no time for it.
		Timeout: 20 * time.Second,
		// A connection for each request, so that handshakes are seen too.
		Transport: &http.Transport{DisableKeepAlives: true},
	}}
	cmd := &cobra.Command{
		Use:   "http-get --url URL",
		Short: "Request a page again and again",
		Long:  "Request a page again and again, each time on a new connection. Failures are printed and do not end it.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&o.url, "url", "", "what to request")
	cmd.Flags().DurationVar(&o.every, "every", 200*time.Millisecond, "time from one request to the next, above 0")
	cmd.Flags().Uint64Var(&o.count, "count", 0, "requests to make; 0: until a signal")
	if err := cmd.MarkFlagRequired("url"); err != nil {
		panic(err)
	}
	return cmd
}

func (o httpGet) run(ctx context.Context, out, errOut io.Writer) error {
	if o.every <= 0 {
		return fmt.Errorf("--every %s: want more than 0", o.every)
	}
	tick := time.NewTicker(o.every)
	defer tick.Stop()
	var done, failed uint64
	start := time.Now()
	for o.count == 0 || done+failed < o.count {
		began := time.Now()
		if err := o.once(ctx); err != nil && ctx.Err() == nil {
			failed++
			fmt.Fprintf(errOut, "request %d, begun %s after the first, failed after %s: %v\n",
				done+failed, began.Sub(start).Round(time.Millisecond), time.Since(began).Round(time.Millisecond), err)
		} else if err == nil {
			done++
		}
		select {
		case <-ctx.Done():
			_, err := fmt.Fprintf(out, "got %d, failed %d\n", done, failed)
			return err
		case <-tick.C:
		}
	}
	_, err := fmt.Fprintf(out, "got %d, failed %d\n", done, failed)
	return err
}

func (o httpGet) once(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url, nil)
	if err != nil {
		return err
	}
	response, err := o.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return fmt.Errorf("get %s: %w", o.url, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s", o.url, response.Status)
	}
	return nil
}
