package capture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
)

const logsLong = `Print what the collectors of a capture have logged: when they began, what they
captured, where they stored it, and what went wrong.

With several nodes each line begins with the name of its node.`

const (
	// maxLogLine is the longest line of a log that is printed whole, in bytes.
	maxLogLine = 64 << 10
	// logRetry is the pause before a container that has not started is asked again.
	logRetry = time.Second
)

type logsOptions struct {
	existing
	follow bool
	nodes  []string
}

// NewLogs returns the command.
func NewLogs(flags *kube.Flags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &logsOptions{existing: newExisting(flags, streams)}
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Print what the collectors of a capture have logged",
		Long:  logsLong,
		Example: `  kubectl retina capture logs night
  kubectl retina capture logs night --follow --node n2`,
		Args: someNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := captureNames(args)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), names[0])
		},
		ValidArgsFunction: o.completeNames(1),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&o.follow, "follow", "f", false, "go on as the collectors do, until they have ended")
	f.StringSliceVar(&o.nodes, "node", nil, "only of these nodes")
	_ = cmd.RegisterFlagCompletionFunc("node", cobra.NoFileCompletions) // the flag exists
	return cmd
}

func (o *logsOptions) run(ctx context.Context, name string) error {
	if err := o.connect(); err != nil {
		return err
	}
	list, err := inventory.List(ctx, o.cluster.Client, inventory.Options{Namespace: o.namespace(), Names: []string{name}})
	if err != nil {
		return kube.Explain(err)
	}
	c := list.Find(o.namespace(), name)
	if c == nil {
		return o.notFound(ctx, name)
	}
	nodes, err := chooseNodes(c, o.nodes)
	if err != nil {
		return err
	}
	return o.printAll(ctx, c, nodes)
}

// chooseNodes returns the nodes of c with these names; all without any.
func chooseNodes(c *inventory.Capture, names []string) ([]*inventory.Node, error) {
	var all []string
	var nodes []*inventory.Node
	for i := range c.Nodes {
		n := &c.Nodes[i]
		all = append(all, n.Name)
		if len(names) == 0 || slices.Contains(names, n.Name) {
			nodes = append(nodes, n)
		}
	}
	for _, name := range names {
		if !slices.Contains(all, name) {
			return nil, hint.Wrap(fmt.Errorf("capture %s is not on node %q", c.Name, name), "its nodes are: "+strings.Join(all, ", "))
		}
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("capture %s has no collectors", c.Name)
	}
	return nodes, nil
}

// printAll prints the logs of nodes: one after the other, or as they come.
func (o *logsOptions) printAll(ctx context.Context, c *inventory.Capture, nodes []*inventory.Node) error {
	out := &lineWriter{w: o.streams.Out}
	errs := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		prefix := ""
		if len(nodes) > 1 {
			prefix = "[" + n.Name + "] "
		}
		tell := func() { errs[i] = o.printOne(ctx, c, n, out, prefix) }
		if o.follow {
			all.Go(tell)
		} else {
			tell()
		}
	}
	all.Wait()
	if ctx.Err() != nil && o.follow {
		return nil
	}
	failed := 0
	for i, err := range errs {
		if err != nil {
			failed++
			errs[i] = fmt.Errorf("node %s: %w", nodes[i].Name, err)
		}
	}
	code := exit.Partial
	if failed == len(nodes) {
		code = exit.Failed
	}
	return exit.With(code, errors.Join(errs...))
}

func (o *logsOptions) printOne(ctx context.Context, c *inventory.Capture, n *inventory.Node, out *lineWriter, prefix string) error {
	log, err := o.open(ctx, c.Namespace, n.Pod)
	if err != nil {
		return err
	}
	defer log.Close()
	lines := bufio.NewReaderSize(log, maxLogLine)
	for {
		line, err := lines.ReadSlice('\n')
		if text := oneline.Text(string(line)); text != "" {
			if err := out.print(prefix + text); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// open opens the log of a pod. To be followed, the container may still have to
// start.
func (o *logsOptions) open(ctx context.Context, namespace, pod string) (io.ReadCloser, error) {
	for {
		options := &corev1.PodLogOptions{Container: "collector", Follow: o.follow}
		log, err := o.cluster.Client.CoreV1().Pods(namespace).GetLogs(pod, options).Stream(ctx)
		if err == nil || !o.follow || !apierrors.IsBadRequest(err) {
			return log, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(logRetry):
		}
	}
}

// A lineWriter keeps lines of several writers apart.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lineWriter) print(line string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := fmt.Fprintln(l.w, line)
	return err
}
