// Package shell is the `shell` command.
package shell

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/util/exec"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/collectors"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/narration"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

const long = `Open a shell in the network of a node or of a pod, from an image of your choice.

A pod with that image starts on the node, and is deleted when the shell ends, for
whatever reason. NAME is a pod, or a node if there is no such pod; pod/NAME and
node/NAME say which. What follows -- is executed instead of a shell, and its exit
code is that of this command.

The shell is root with the capabilities of the network (NET_ADMIN, NET_RAW) and of
files. It sees neither the node's files and processes nor the pod's, only its own
and the network. The image is pulled by the node; $RETINA_SHELL_IMAGE sets another
default.`

const example = `  # look around in the network of a pod
  kubectl retina shell web-1 -n shop --image localhost/busybox:1 -- ip address

  # the routes of a node
  kubectl retina shell node/n1 --image localhost/busybox:1 -- ip route`

const (
	// defaultImage has the tools that one looks for when a network is slow.
	defaultImage = "docker.io/nicolaka/netshoot:v0.13"
	// imageVariable is the environment variable that stands in for --image.
	imageVariable = "RETINA_SHELL_IMAGE"
	// maxShell bounds the life of a shell's pod.
	maxShell = 24 * time.Hour
	// startTimeout is longer than a collector's: images of tools are large.
	startTimeout = 10 * time.Minute
	// completionTime is how long the user's own shell waits for names.
	completionTime = 3 * time.Second
)

type options struct {
	kube    *kube.Flags
	streams genericiooptions.IOStreams
	getenv  func(string) string

	image       string
	namespace   string // where the shell's pod runs
	collector   string // flag of the collector's image
	pullSecrets []string
	quiet       bool

	kind, name string // kind is empty where the command line does not say it
	command    []string
}

// New returns the command. getenv is os.Getenv.
func New(flags *kube.Flags, streams genericiooptions.IOStreams, getenv func(string) string) *cobra.Command {
	o := &options{kube: flags, streams: streams, getenv: getenv}
	cmd := &cobra.Command{
		Use:     "shell (NODE | POD) [-- COMMAND ...]",
		Short:   "Open a shell in the network of a node or a pod, with an image of your choice",
		Long:    long,
		Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args, cmd.ArgsLenAtDash()); err != nil {
				return exit.With(exit.Usage, err)
			}
			return o.run(cmd.Context())
		},
		ValidArgsFunction: o.completeNames,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.image, "image", "", "the shell's image (default $"+imageVariable+", else "+defaultImage+")")
	f.StringVar(&o.namespace, "collector-namespace", "", "where the shell's pod runs (default that of the kubeconfig context)")
	f.StringVar(&o.collector, "collector-image", "", "the image of the program that enters the network (default $"+collectors.ImageVariable+", else that of the collectors)")
	f.StringSliceVar(&o.pullSecrets, "image-pull-secret", nil, "secrets of the collector namespace to pull the images with")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print only warnings and errors")
	for flag, complete := range map[string]cobra.CompletionFunc{
		"collector-namespace": flags.CompleteNamespace,
		"image":               cobra.NoFileCompletions, "collector-image": cobra.NoFileCompletions, "image-pull-secret": cobra.NoFileCompletions,
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, complete) // the flag exists
	}
	return cmd
}

// complete checks the command line; dash is how many arguments come before --, -1
// if there is none.
func (o *options) complete(args []string, dash int) (err error) {
	if dash >= 0 {
		args, o.command = args[:dash], args[dash:]
		if len(o.command) == 0 {
			return hint.Wrap(errors.New("nothing follows --"), "leave it away for a shell")
		}
	}
	switch {
	case len(args) == 0:
		return hint.Wrap(errors.New("no node and no pod is named"), "write: kubectl retina shell POD, or node/NAME")
	case len(args) > 1:
		return hint.Wrap(fmt.Errorf("one node or pod, not also %q", args[1]), "a command to execute follows --")
	}
	o.name = args[0]
	if kind, name, ok := strings.Cut(args[0], "/"); ok {
		switch {
		case slices.Contains([]string{"pod", "pods", "po"}, kind):
			o.kind = "pod"
		case slices.Contains([]string{"node", "nodes", "no"}, kind):
			o.kind = "node"
		default:
			return hint.Wrap(fmt.Errorf("%q is neither a pod nor a node", args[0]), "write pod/NAME or node/NAME")
		}
		o.name = name
	}
	if _, err := (target.Request{Args: []string{"pod/" + o.name}}).Selection(); err != nil {
		return err
	}
	if o.image == "" {
		o.image = o.getenv(imageVariable)
	}
	if o.image == "" {
		o.image = defaultImage
	}
	if _, err := name.ParseReference(o.image); err != nil {
		return hint.Wrap(fmt.Errorf("--image %q is not the name of an image", o.image), "write it as REGISTRY/REPOSITORY:TAG")
	}
	o.collector, err = collectors.Image(o.collector)
	return err
}

// A place is where the shell runs.
type place struct {
	node  string
	shell session.Shell
}

func (o *options) run(ctx context.Context) (err error) {
	cluster, err := o.kube.Cluster()
	if err != nil {
		return err
	}
	if o.namespace == "" {
		o.namespace = cluster.ContextNamespace
	}
	executor, err := session.NewRemoteExecutor(cluster.REST)
	if err != nil {
		return err
	}
	narrator := narration.New(o.streams.ErrOut, o.quiet)
	defer narrator.Close()
	at, err := o.find(ctx, cluster)
	if err != nil {
		return o.interrupted(ctx, kube.Explain(err))
	}
	run, err := session.Open(ctx, session.Config{
		Client: cluster.Client, Executor: executor, Namespace: o.namespace, Image: o.collector, PullSecrets: o.pullSecrets,
		MaxRun: maxShell, StartTimeout: startTimeout, Events: narrator.Starting,
	})
	if err != nil {
		return o.interrupted(ctx, kube.Explain(err))
	}
	defer func() {
		if closeErr := run.Close(ctx); closeErr != nil {
			narrator.Warn("clean up: " + closeErr.Error())
		}
	}()
	pod, err := run.StartShell(ctx, at.node, at.shell)
	if err != nil {
		return o.interrupted(ctx, err)
	}
	narrator.Close()
	t, restore, err := o.terminal(ctx)
	if err != nil {
		return err
	}
	err = executor.Shell(ctx, pod, at.shell.Command(o.command), t)
	restore()
	var code exec.CodeExitError
	if errors.As(err, &code) {
		return exit.With(code.Code, exit.ErrSilent) // the command has said why itself
	}
	return o.interrupted(ctx, err)
}

// interrupted prefers the user's wish to what came of it.
func (o *options) interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return exit.With(exit.Interrupted, errors.New("interrupted"))
	}
	return err
}

// find looks for the pod or the node.
func (o *options) find(ctx context.Context, cluster *kube.Cluster) (place, error) {
	if o.kind != "node" {
		at, err := o.findPod(ctx, cluster)
		if err == nil || o.kind == "pod" || o.exists(ctx, cluster) {
			return at, err
		}
	}
	selection, err := target.Request{NodeNames: []string{o.name}}.Selection()
	if err != nil {
		return place{}, err
	}
	_, err = selection.Resolve(ctx, cluster.Client)
	if apierrors.IsForbidden(err) {
		err = nil // whether there is such a node shows when the pod starts
	}
	if err != nil && o.kind == "" {
		err = fmt.Errorf("no pod in namespace %s and no node has the name %s", cluster.Namespace, o.name)
		return place{}, hint.Wrap(err, "pass -n NAMESPACE, or see: kubectl get pods -A")
	}
	return place{node: o.name, shell: session.Shell{Image: o.image}}, err
}

// exists reports whether the name is a pod's after all: then why it cannot be
// entered is what to tell.
func (o *options) exists(ctx context.Context, cluster *kube.Cluster) bool {
	_, err := cluster.Client.CoreV1().Pods(cluster.Namespace).Get(ctx, o.name, metav1.GetOptions{})
	return err == nil
}

func (o *options) findPod(ctx context.Context, cluster *kube.Cluster) (place, error) {
	selection, err := target.Request{Args: []string{"pod/" + o.name}, Namespace: cluster.Namespace}.Selection()
	if err != nil {
		return place{}, err
	}
	found, err := selection.Resolve(ctx, cluster.Client)
	if err != nil {
		return place{}, err
	}
	node := found.Nodes[0]
	pod := node.Pods[0]
	if pod.HostNetwork {
		return place{}, hint.Wrap(fmt.Errorf("pod %s has no network of its own: it uses that of node %s", pod.String(), node.Name),
			"kubectl retina shell node/"+node.Name)
	}
	return place{node: node.Name, shell: session.Shell{Image: o.image, PodUID: pod.CgroupUID, Namespace: pod.Namespace}}, nil
}

// completeNames completes with pods, also behind "pod/", and with nodes behind
// "node/".
func (o *options) completeNames(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp
	cluster, err := o.kube.Cluster()
	if err != nil || len(args) > 0 {
		return nil, directive
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	var names []cobra.Completion
	add := func(name string) {
		if strings.HasPrefix(name, word) {
			names = append(names, name)
		}
	}
	options := metav1.ListOptions{Limit: 500}
	if pods, err := cluster.Client.CoreV1().Pods(cluster.Namespace).List(ctx, options); err == nil {
		prefix := ""
		if strings.HasPrefix(word, "pod/") {
			prefix = "pod/"
		}
		for i := range pods.Items {
			add(prefix + pods.Items[i].Name)
		}
	}
	if nodes, err := cluster.Client.CoreV1().Nodes().List(ctx, options); err == nil {
		for i := range nodes.Items {
			add("node/" + nodes.Items[i].Name)
		}
	}
	return names, directive
}
