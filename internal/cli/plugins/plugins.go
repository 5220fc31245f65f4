// Package plugins is the command that prints the catalogue of the plugins.
package plugins

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
)

const long = `List the plugins, what each of them measures, where in the kernel it does so, and
the first Linux that has what it needs.

With the name of a plugin, print all about it: what it needs and what an older
kernel cannot give, what it cannot see, and its metrics with type, unit, labels
and the names that Retina has for them.

Nothing is asked of the cluster. What the kernels of its nodes cannot give is
said by the commands that measure.`

const example = `  # what there is
  kubectl retina plugins

  # all about drops
  kubectl retina plugins dropreason

  # every metric's name
  kubectl retina plugins -o json | jq -r '.items[].metrics[].name'`

// Kinds of documents that -o json and -o yaml print.
const (
	listKind   = "PluginList"
	pluginKind = "Plugin"
)

type list struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Items      []retina.Plugin   `json:"items"`
	Endpoint   []retina.Metric   `json:"endpoint"`
	Contexts   []retina.Context  `json:"contexts"`
	Labels     map[string]string `json:"labels"`
}

type single struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	retina.Plugin
}

type options struct {
	streams   genericiooptions.IOStreams
	output    string
	noHeaders bool
}

// New returns the command. It needs no cluster.
func New(streams genericiooptions.IOStreams) *cobra.Command {
	o := &options{streams: streams}
	cmd := &cobra.Command{
		Use:     "plugins [NAME]",
		Aliases: []string{"plugin"},
		Short:   "List what can be measured, and what each plugin needs",
		Long:    long,
		Example: example,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := o.validate(args); err != nil {
				return err
			}
			return o.run(args)
		},
		ValidArgsFunction: completeNames,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&o.output, "output", "o", "", "table, wide, json, yaml or name")
	f.BoolVar(&o.noHeaders, "no-headers", false, "print no line of titles")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs(), cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return cmd
}

func outputs() []cobra.Completion { return []cobra.Completion{"table", "wide", "json", "yaml", "name"} }

func completeNames(_ *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	catalogue, err := retina.Catalog()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []cobra.Completion
	for i := range catalogue.Plugins {
		if p := &catalogue.Plugins[i]; strings.HasPrefix(p.Name, word) {
			found = append(found, cobra.CompletionWithDesc(p.Name, p.Summary))
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

func (o *options) validate(args []string) error {
	if o.output != "" && !slices.Contains(outputs(), o.output) {
		return exit.Usagef("-o %q is not one of %s", o.output, strings.Join(outputs(), ", "))
	}
	if len(args) > 1 {
		return exit.Usagef("one plugin at most, got %q and %q", args[0], args[1])
	}
	return nil
}

func (o *options) run(args []string) error {
	catalogue, err := retina.Catalog()
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return o.print(catalogue.Plugins, list{
			APIVersion: inventory.APIVersion, Kind: listKind,
			Items: catalogue.Plugins, Endpoint: catalogue.Endpoint, Contexts: catalogue.Contexts, Labels: catalogue.Labels,
		})
	}
	plugin := catalogue.Plugin(args[0])
	switch {
	case plugin == nil:
		return unknown(catalogue, args[0])
	case o.output == "":
		return describe(o.streams.Out, catalogue, plugin)
	}
	return o.print([]retina.Plugin{*plugin}, single{inventory.APIVersion, pluginKind, *plugin})
}

// print prints plugins, or the document that stands for them.
func (o *options) print(plugins []retina.Plugin, document any) error {
	switch o.output {
	case "json":
		text, err := json.MarshalIndent(document, "", "  ")
		return o.write(append(text, '\n'), err)
	case "yaml":
		return o.write(yaml.Marshal(document))
	case "name":
		for i := range plugins {
			if _, err := fmt.Fprintln(o.streams.Out, "plugin/"+plugins[i].Name); err != nil {
				return err
			}
		}
		return nil
	}
	return o.table(plugins)
}

func (o *options) write(text []byte, err error) error {
	if err == nil {
		_, err = o.streams.Out.Write(text)
	}
	return err
}

// unknown refuses a name, with the plugin that it may be a slip of.
func unknown(catalogue *retina.Catalogue, name string) error {
	err := exit.Usagef("no plugin is called %q", name)
	near, least := "", (len(name)+2)/3+1
	for i := range catalogue.Plugins {
		candidate := catalogue.Plugins[i].Name
		distance := levenshtein.ComputeDistance(strings.ToLower(name), candidate)
		if name != "" && strings.HasPrefix(candidate, strings.ToLower(name)) {
			distance = min(distance, 1)
		}
		if distance < least {
			near, least = candidate, distance
		}
	}
	if near == "" {
		return hint.Wrap(err, "see: kubectl retina plugins")
	}
	return hint.Wrap(err, "did you mean "+near+"?")
}
