package kube

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	// completionTime is how long a shell waits for names.
	completionTime = 3 * time.Second
	// completionNames is how many names are read: nobody chooses from more.
	completionNames = 1000
)

// Names returns the names of the objects of a resource, in the namespace of -n
// if it has namespaces. It is for shells: of an error, or of a cluster that
// answers late, nothing is known but that there are no names.
func (f *Flags) Names(ctx context.Context, resource schema.GroupVersionResource, namespaced bool) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	cluster, err := f.Cluster()
	if err != nil {
		return nil
	}
	client, err := metadata.NewForConfig(cluster.REST)
	if err != nil {
		return nil
	}
	var lister metadata.ResourceInterface = client.Resource(resource)
	if namespaced {
		lister = client.Resource(resource).Namespace(cluster.Namespace)
	}
	list, err := lister.List(ctx, metav1.ListOptions{Limit: completionNames})
	if err != nil {
		return nil
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	slices.Sort(names)
	return names
}

// CompleteNamespace completes with the cluster's namespaces, or where it does
// not tell them, with those of the kubeconfig's contexts.
func (f *Flags) CompleteNamespace(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names := f.Names(cmd.Context(), schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}, false)
	if names == nil {
		return f.completeFrom(func(c clientcmdapi.Config) []string {
			var all []string
			for _, context := range c.Contexts {
				all = append(all, context.Namespace)
			}
			return all
		})(cmd, args, word)
	}
	return beginning(names, word), cobra.ShellCompDirectiveNoFileComp
}

// CompleteNode completes with the cluster's nodes.
func (f *Flags) CompleteNode(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	nodes := schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	return beginning(f.Names(cmd.Context(), nodes, false), word), cobra.ShellCompDirectiveNoFileComp
}

// beginning returns those of names that begin with word.
func beginning(names []string, word string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, word) })
}
