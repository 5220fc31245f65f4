package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/metrics/exposition"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const serveLong = `Serve metrics for Prometheus for as long as the command runs, under Retina's
names: at /metrics, and at /healthz whether all nodes are measured.

Targets are named as for metrics snapshot. Without any, all pods of the namespace
are measured, with -A all pods and all nodes of the cluster. Collectors follow
pods and nodes that come and go, and are deleted when the command ends.`

const serveExample = `  # the pods of a namespace, for a Prometheus on this machine
  kubectl retina metrics serve -n shop --listen 127.0.0.1:10093

  # everything, with who talks to whom
  kubectl retina metrics serve -A --remote-context --max-series 50000`

// goneFromServe is how long the series of a pod that has ended are served: long
// enough for the next scrape to have its last numbers.
const goneFromServe = 30 * time.Second

// shutdownTime is how long requests may go on at the end.
const shutdownTime = 2 * time.Second

type serveOptions struct {
	*options
	listen        string
	interval      time.Duration
	maxSeries     int
	remoteContext bool
	retinaNames   bool
}

func newServe(flags *kube.Flags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &serveOptions{options: newOptions(flags, streams)}
	cmd := &cobra.Command{
		Use:     "serve [TYPE/NAME ...]",
		Short:   "Serve metrics for Prometheus for as long as it runs",
		Long:    serveLong,
		Example: serveExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args); err != nil {
				return exit.With(exit.Usage, err)
			}
			return o.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:10093", "address and port; there is no authentication")
	f.DurationVar(&o.interval, "interval", 5*time.Second, "time between two samples of a node")
	f.IntVar(&o.maxSeries, "max-series", 100000, "serve no more series about nodes and pods than this; 0 is no limit")
	f.BoolVar(&o.remoteContext, "remote-context", false, "series for each pair of a pod and what it talks to, with source_ and destination_ labels")
	f.BoolVar(&o.retinaNames, "retina-names", true, "serve counters under Retina's names without _total too")
	o.addTo(cmd)
	return cmd
}

func (o *serveOptions) complete(args []string) error {
	if err := o.options.complete(args); err != nil {
		return err
	}
	if o.everything && o.request.AllNamespaces {
		o.withNodes = true
	}
	host, port, err := net.SplitHostPort(o.listen)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	switch {
	case err != nil || strings.ContainsAny(host, " /"):
		return hint.Wrap(fmt.Errorf("--listen %q is not an address and a port", o.listen), "write --listen 127.0.0.1:10093")
	case o.interval < wire.MinInterval || o.interval > wire.MaxInterval:
		return fmt.Errorf("--interval %s is not between %s and %s", o.interval, wire.MinInterval, wire.MaxInterval)
	case o.maxSeries < 0:
		return fmt.Errorf("--max-series %d is negative", o.maxSeries)
	}
	return nil
}

func (o *serveOptions) run(ctx context.Context) error {
	// Before anything is created: the port may be taken.
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return hint.Wrap(fmt.Errorf("listen on %s: %w", o.listen, err), "choose another port with --listen")
	}
	defer listener.Close()
	obs := newObserver(o.options, o.interval)
	obs.live, obs.forget = true, goneFromServe
	if err := obs.prepare(ctx); err != nil {
		obs.narrator.Close()
		if ctx.Err() != nil {
			return exit.With(exit.Interrupted, errors.New("interrupted before anything was measured"))
		}
		return kube.Explain(err)
	}
	err = o.serve(ctx, obs, listener)
	obs.stop(ctx)
	obs.close(ctx)
	return err
}

func (o *serveOptions) serve(ctx context.Context, obs *observer, listener net.Listener) error {
	handler, err := o.handler(obs.fold)
	if err != nil {
		return err
	}
	if err := obs.start(ctx); err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	obs.narrator.Info(fmt.Sprintf("serving http://%s/metrics", listener.Addr()))
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if server.Shutdown(ending) != nil {
		_ = server.Close()
	}
	return exit.With(exit.Interrupted, exit.ErrSilent)
}

// handler serves the fold's present state.
func (o *serveOptions) handler(fold *metrics.Fold) (http.Handler, error) {
	context := exposition.Local
	if o.remoteContext {
		context = exposition.Remote
	}
	collector, err := exposition.New(fold, exposition.Options{Context: context, MaxSeries: o.maxSeries, WithoutRetinaNames: !o.retinaNames})
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	if err := registry.Register(collector); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: false}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { healthz(w, fold) })
	return mux, nil
}

// healthz says ok when every node is measured, and otherwise which are not.
func healthz(w http.ResponseWriter, fold *metrics.Fold) {
	var bad []string
	for _, n := range fold.Report(metrics.ByNode).Nodes {
		if n.Error != "" {
			bad = append(bad, n.Name+": "+n.Error)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if len(bad) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, strings.Join(bad, "\n"))
		return
	}
	fmt.Fprintln(w, "ok")
}
