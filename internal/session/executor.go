package session

import (
	"context"
	"fmt"
	"io"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
)

// An Executor runs a command in the collector container of a pod.
type Executor interface {
	// Exec copies stdin to the command, and its output to stdout and stderr,
	// until the command ends or ctx does. It returns nil when the command ended
	// with exit code 0. The streams may still be used for a moment after it has
	// returned because of ctx.
	Exec(ctx context.Context, pod types.NamespacedName, command []string, stdin io.Reader, stdout, stderr io.Writer) error
}

// A RemoteExecutor executes through the API server's pods/exec: by WebSocket,
// or by SPDY where that is not understood.
type RemoteExecutor struct {
	config *rest.Config
	pods   rest.Interface
}

var _ Executor = (*RemoteExecutor)(nil)

// NewRemoteExecutor returns an executor for the cluster of config, which it
// does not change.
func NewRemoteExecutor(config *rest.Config) (*RemoteExecutor, error) {
	client, err := coreclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("exec client: %w", err)
	}
	return &RemoteExecutor{config: config, pods: client.RESTClient()}, nil
}

// Exec implements [Executor].
func (e *RemoteExecutor) Exec(ctx context.Context, pod types.NamespacedName, command []string, stdin io.Reader, stdout, stderr io.Writer) error {
	options := &corev1.PodExecOptions{Container: CollectorContainer, Command: command, Stdin: true, Stdout: true, Stderr: true}
	return e.stream(ctx, pod, options, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout, Stderr: stderr})
}

// A Terminal is the user's end of a shell.
type Terminal struct {
	In       io.Reader
	Out, Err io.Writer // with Sizes all of the output goes to Out
	// Sizes makes it a terminal, of these sizes. Nil: it is none.
	Sizes remotecommand.TerminalSizeQueue
}

// Shell executes a command in the shell container of a pod, until it ends or ctx
// does. The error of one that ends with another exit code than 0 is an
// exec.CodeExitError.
func (e *RemoteExecutor) Shell(ctx context.Context, pod types.NamespacedName, command []string, t Terminal) error {
	tty := t.Sizes != nil
	options := &corev1.PodExecOptions{Container: ShellContainer, Command: command, Stdin: true, Stdout: true, Stderr: !tty, TTY: tty}
	streams := remotecommand.StreamOptions{Stdin: t.In, Stdout: t.Out, Tty: tty, TerminalSizeQueue: t.Sizes}
	if !tty {
		streams.Stderr = t.Err
	}
	return e.stream(ctx, pod, options, streams)
}

func (e *RemoteExecutor) stream(ctx context.Context, pod types.NamespacedName, options *corev1.PodExecOptions, streams remotecommand.StreamOptions) error {
	url := e.pods.Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("exec").
		VersionedParams(options, scheme.ParameterCodec).URL()
	ws, err := remotecommand.NewWebSocketExecutor(e.config, "GET", url.String())
	if err != nil {
		return err
	}
	spdy, err := remotecommand.NewSPDYExecutor(e.config, "POST", url)
	if err != nil {
		return err
	}
	executor, err := remotecommand.NewFallbackExecutor(ws, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return err
	}
	// remotecommand logs every stream that breaks. We return that as an error,
	// and what is logged would be written over the caller's terminal.
	ctx = klog.NewContext(ctx, logr.Discard())
	return executor.StreamWithContext(ctx, streams)
}
