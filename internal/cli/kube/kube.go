// Package kube turns kubectl's connection flags into clients.
//
// The flags are looked at when a client is asked for, never before, so that
// --context and --kubeconfig are those of the command line.
package kube

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/version"
)

// Flags are kubectl's flags for reaching a cluster.
type Flags struct {
	config *genericclioptions.ConfigFlags
}

// NewFlags returns the flags with kubectl's defaults.
func NewFlags() *Flags {
	config := genericclioptions.NewConfigFlags(true)
	config.CacheDir = nil // nothing is discovered, so nothing is cached
	return &Flags{config: config}
}

// AddTo adds the flags to those of cmd and of the commands below it, with what
// the shell can complete.
func (f *Flags) AddTo(cmd *cobra.Command) {
	f.config.AddFlags(cmd.PersistentFlags())
	names := map[string]func(clientcmdapi.Config) []string{
		"context": func(c clientcmdapi.Config) []string { return slices.Collect(maps.Keys(c.Contexts)) },
		"cluster": func(c clientcmdapi.Config) []string { return slices.Collect(maps.Keys(c.Clusters)) },
		"user":    func(c clientcmdapi.Config) []string { return slices.Collect(maps.Keys(c.AuthInfos)) },
	}
	cmd.PersistentFlags().VisitAll(func(flag *pflag.Flag) {
		complete := cobra.NoFileCompletions
		switch flag.Name {
		case "kubeconfig", "certificate-authority", "client-certificate", "client-key":
			return // files
		case "namespace":
			complete = f.CompleteNamespace
		case "context", "cluster", "user":
			complete = f.completeFrom(names[flag.Name])
		}
		_ = cmd.RegisterFlagCompletionFunc(flag.Name, complete) // the flag exists
	})
}

// completeFrom completes with names from the kubeconfig.
func (f *Flags) completeFrom(names func(clientcmdapi.Config) []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		raw, err := f.config.ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		all := slices.DeleteFunc(names(raw), func(name string) bool { return name == "" || !strings.HasPrefix(name, word) })
		slices.Sort(all)
		return slices.Compact(all), cobra.ShellCompDirectiveNoFileComp
	}
}

// Cluster is how to reach one cluster, resolved.
type Cluster struct {
	REST   *rest.Config
	Client kubernetes.Interface
	// Namespace is that of -n, else of the context, else "default".
	Namespace string
	// ContextNamespace is that of the context whatever -n says.
	ContextNamespace string
}

// Cluster reads the kubeconfig and makes a client. It asks the cluster nothing.
func (f *Flags) Cluster() (*Cluster, error) {
	if timeout := f.config.Timeout; timeout != nil && *timeout != "" {
		if _, err := clientcmd.ParseTimeout(*timeout); err != nil {
			return nil, exit.With(exit.Usage, hint.Wrap(fmt.Errorf("--request-timeout %q is not a time", *timeout), "a number of seconds, or with a unit: 1s, 2m, 3h"))
		}
	}
	loader := f.config.ToRawKubeConfigLoader()
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, f.explain(err)
	}
	config, err := f.config.ToRESTConfig()
	if err != nil {
		return nil, f.explain(err)
	}
	// Lists of pods are large: protobuf is a third of JSON to decode.
	config.ContentConfig.AcceptContentTypes = strings.Join([]string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON}, ",")
	config.ContentConfig.ContentType = runtime.ContentTypeProtobuf
	config.UserAgent = "kubectl-retina/" + version.Get().Version
	// Every node costs a handful of requests, and the server has limits of its own.
	config.QPS, config.Burst = 100, 200
	// The server's warnings are about objects that the user did not write.
	config.WarningHandler = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, f.explain(err)
	}
	return &Cluster{REST: config, Client: client, Namespace: namespace, ContextNamespace: f.contextNamespace()}, nil
}

// contextNamespace is the namespace of the context in use or, without a
// kubeconfig, of the pod that this runs in.
func (f *Flags) contextNamespace() string {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	var overrides clientcmd.ConfigOverrides
	if file := f.config.KubeConfig; file != nil {
		rules.ExplicitPath = *file
	}
	if context := f.config.Context; context != nil {
		overrides.CurrentContext = *context
	}
	namespace, _, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &overrides).Namespace()
	if err != nil {
		return metav1.NamespaceDefault
	}
	return namespace
}

// explain says what to do about a kubeconfig that cannot be used.
func (f *Flags) explain(err error) error {
	raw, rawErr := f.config.ToRawKubeConfigLoader().RawConfig()
	switch {
	case rawErr != nil:
		return hint.Wrap(fmt.Errorf("kubeconfig: %w", rawErr), "check --kubeconfig and $KUBECONFIG")
	case clientcmd.IsEmptyConfig(err):
		return hint.Wrap(errors.New("no cluster: there is no kubeconfig"), "pass --kubeconfig, or set KUBECONFIG, or create ~/.kube/config")
	case f.config.Context != nil && *f.config.Context != "" && raw.Contexts[*f.config.Context] == nil:
		var names []string
		for name := range raw.Contexts {
			names = append(names, name)
		}
		slices.Sort(names)
		return hint.Wrap(fmt.Errorf("kubeconfig has no context %q", *f.config.Context), "its contexts are: "+strings.Join(names, ", "))
	}
	return hint.Wrap(fmt.Errorf("kubeconfig: %w", err), "check it with: kubectl config view --minify")
}

// Explain adds a hint to an error of a request that never reached a server.
func Explain(err error) error {
	var dial *net.OpError
	var address *url.Error
	// Where nothing names a cluster, client-go asks this, as kubectl does.
	const nowhere = "http://localhost:8080/"
	if hint.Of(err) == "" && errors.As(err, &address) && strings.HasPrefix(address.URL, nowhere) {
		return hint.Wrap(err, "no cluster is named: pass --kubeconfig, or set KUBECONFIG, or create ~/.kube/config, with a current context")
	}
	// client-go has no type for it.
	if hint.Of(err) == "" && err != nil && strings.Contains(err.Error(), "getting credentials: exec") {
		return hint.Wrap(err, "the credential plugin of the kubeconfig did not work: is it installed, and are you logged in? try: kubectl auth whoami (with the same --context and --kubeconfig)")
	}
	if hint.Of(err) == "" && (errors.As(err, &dial) || errors.As(err, &address)) {
		return hint.Wrap(err, "is the cluster up, and is it the right one? try: kubectl cluster-info (with the same --context and --kubeconfig)")
	}
	return err
}
