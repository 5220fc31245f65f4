package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
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
names: at /metrics. /healthz says whether all nodes are measured, and /readyz whether
the first collectors have started; until then every path answers 503.

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

const (
	// shutdownTime is how long requests may go on at the end.
	shutdownTime = 2 * time.Second
	// idleTime is how long a connection is kept between two requests: longer than the
	// usual time between two scrapes.
	idleTime = 3 * time.Minute
	// maxScrapes is how many scrapes are answered at once: each makes a whole report.
	maxScrapes = 4
	// scrapeTime bounds a scrape, as Prometheus does itself.
	scrapeTime = 10 * time.Second
)

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
		_, err = net.LookupPort("tcp", port) //nolint:noctx // it asks a table of this machine
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
	// Before anything is created: the port may be taken. And whoever looks after this
	// command is told at once that it is starting.
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return hint.Wrap(fmt.Errorf("listen on %s: %w", o.listen, err), "choose another port with --listen")
	}
	front := &front{}
	server := &http.Server{Handler: front, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: idleTime}
	serving, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fail(fmt.Errorf("serve on %s: %w", listener.Addr(), err))
		}
	}()
	defer server.Close()
	obs := newObserver(o.options, o.interval)
	obs.live, obs.forget = true, goneFromServe
	err = obs.run(serving, func(serving context.Context) error {
		handler, err := o.handler(obs.fold)
		if err != nil {
			return err
		}
		front.open(handler)
		obs.narrator.Info(fmt.Sprintf("serving http://%s/metrics", listener.Addr()))
		<-serving.Done()
		shutdown(serving, server)
		return exit.With(exit.Interrupted, exit.ErrSilent)
	})
	if cause := context.Cause(serving); ctx.Err() == nil && cause != nil {
		return cause
	}
	return err
}

// shutdown lets requests end that have begun.
func shutdown(ctx context.Context, server *http.Server) {
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if server.Shutdown(ending) != nil {
		_ = server.Close()
	}
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
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: scrapeTime}))
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { healthz(w, fold) })
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, "there are /metrics, /healthz and /readyz")
	})
	return mux, nil
}

// healthz says ok when every node is measured, and otherwise which are not.
func healthz(w http.ResponseWriter, fold *metrics.Fold) {
	var bad []string
	for _, n := range fold.Nodes() {
		switch {
		case n.Error != "":
			bad = append(bad, n.Name+": "+n.Error)
		case n.Samples == 0:
			bad = append(bad, n.Name+": no sample yet")
		}
	}
	if len(bad) > 0 {
		answer(w, http.StatusServiceUnavailable, strings.Join(bad, "\n"))
		return
	}
	answer(w, http.StatusOK, "ok")
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	fmt.Fprintln(w, text)
}

// A front answers that the command is starting until there is something to serve.
type front struct{ handler atomic.Pointer[http.Handler] }

func (f *front) open(handler http.Handler) { f.handler.Store(&handler) }

// ServeHTTP serves a request.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if handler := f.handler.Load(); handler != nil {
		(*handler).ServeHTTP(w, r)
		return
	}
	answer(w, http.StatusServiceUnavailable, "starting")
}
