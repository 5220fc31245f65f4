package selecting

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// Complete lets the shell complete the arguments of cmd that are targets, and the
// flags of AddTo.
func Complete(cmd *cobra.Command, flags *kube.Flags) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return completeTargets(args, word, func(r target.Resource) []string {
			return flags.Names(cmd.Context(), r.GroupVersionResource, r.Namespaced)
		})
	}
	names := func(word string) cobra.CompletionFunc {
		resource, _ := target.ResourceOf(word)
		return func(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return completeList(word, flags.Names(cmd.Context(), resource.GroupVersionResource, resource.Namespaced)), cobra.ShellCompDirectiveNoFileComp
		}
	}
	for flag, complete := range map[string]cobra.CompletionFunc{
		"selector": cobra.NoFileCompletions, "pod-selectors": cobra.NoFileCompletions, "namespace-selectors": cobra.NoFileCompletions,
		"node-selectors": cobra.NoFileCompletions, "pod-names": names("pod"), "node-names": names("node"),
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, complete) // the flag exists
	}
}

// completeTargets completes TYPE/NAME..., or TYPE NAME..., with names from list.
func completeTargets(args []string, word string, list func(target.Resource) []string) ([]cobra.Completion, cobra.ShellCompDirective) {
	kind, name, slash := strings.Cut(word, "/")
	prefix := kind + "/"
	if !slash && len(args) > 0 && !strings.Contains(args[0], "/") {
		kind, name, prefix = args[0], word, ""
		slash = true
	}
	if !slash {
		var kinds []cobra.Completion
		for _, k := range target.Words() {
			if strings.HasPrefix(k, word) {
				kinds = append(kinds, k+"/")
			}
		}
		return kinds, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	resource, ok := target.ResourceOf(kind)
	if !ok {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []cobra.Completion
	for _, candidate := range list(resource) {
		if strings.HasPrefix(candidate, name) && !slices.Contains(args, prefix+candidate) {
			found = append(found, prefix+candidate)
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// CompleteList completes the last word of a comma-separated list of these.
func CompleteList(names ...string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return completeList(word, names), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeList completes the last word of a comma-separated list.
func completeList(word string, names []string) []cobra.Completion {
	begun := word[:strings.LastIndex(word, ",")+1]
	there := strings.Split(begun, ",")
	var found []cobra.Completion
	for _, name := range names {
		if strings.HasPrefix(name, word[len(begun):]) && !slices.Contains(there, name) {
			found = append(found, begun+name)
		}
	}
	return found
}
