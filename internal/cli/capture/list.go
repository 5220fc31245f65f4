package capture

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
)

const listLong = `List captures: what they do on how many nodes, what they have so far, and how
long they are still there.

Collectors that run are asked what they do. A status is

  Starting   the collector does not capture yet
  Capturing  packets are captured
  Uploading  the capture has ended, and its archives are made and stored
  Kept       an archive is not in all its destinations: it waits to be downloaded
  Done       nothing more happens
  Failed     see the reason
  Running    the collector runs, and does not say what it does
  Ending     it is being deleted

LEFT is the time until the capture, and what only its collectors have of it, is
gone. A capture that a command watches over has no such time.`

const listExample = `  # the captures of the context's namespace
  kubectl retina capture list

  # of all namespaces, as they change
  kubectl retina capture list -A --watch

  # where the archives of one are
  kubectl retina capture list night -o json | grep sha256`

// watchPeriod is how often a watch looks again.
const watchPeriod = 2 * time.Second

type listOptions struct {
	existing
	allNamespaces bool
	watch         bool
	noHeaders     bool
	output        string
}

// NewList returns the command.
func NewList(flags *kube.Flags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &listOptions{existing: newExisting(flags, streams)}
	cmd := &cobra.Command{
		Use:     "list [NAME ...]",
		Aliases: []string{"ls", "get"},
		Short:   "List captures and what became of them",
		Long:    listLong,
		Example: listExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := o.complete(args)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), names)
		},
		ValidArgsFunction: o.completeNames(0),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "captures of all namespaces")
	f.StringVarP(&o.output, "output", "o", "", "wide, json, yaml or name")
	f.BoolVarP(&o.watch, "watch", "w", false, "go on, and print captures that change, until Ctrl-C")
	f.BoolVar(&o.noHeaders, "no-headers", false, "print no line of titles")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(listOutputs(), cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return cmd
}

func listOutputs() []cobra.Completion { return []cobra.Completion{"wide", "json", "yaml", "name"} }

func (o *listOptions) complete(args []string) ([]string, error) {
	if o.output != "" && !slices.Contains(listOutputs(), o.output) {
		return nil, exit.Usagef("-o %q is not one of %s", o.output, strings.Join(listOutputs(), ", "))
	}
	if o.allNamespaces && len(args) > 0 {
		return nil, exit.Usagef("-A and the name of a capture exclude each other")
	}
	return captureNames(args)
}

func (o *listOptions) run(ctx context.Context, names []string) error {
	if err := o.connect(); err != nil {
		return err
	}
	live, done := o.live(ctx)
	defer done()
	options := inventory.Options{Namespace: o.namespace(), Names: names, Prober: live}
	if o.allNamespaces {
		options.Namespace = ""
	}
	list, err := inventory.List(ctx, o.cluster.Client, options)
	if err != nil {
		if o.watch && ctx.Err() != nil {
			return nil
		}
		return kube.Explain(err)
	}
	for _, name := range names {
		if list.Find(options.Namespace, name) == nil {
			return o.notFound(ctx, name)
		}
	}
	if o.watch {
		return o.follow(ctx, options, list)
	}
	return o.print(list, len(names) == 1)
}

// print prints a list; of one capture that was asked for by name, that capture.
func (o *listOptions) print(list *inventory.CaptureList, single bool) error {
	switch o.output {
	case "json", "yaml":
		var value any = list
		if single && len(list.Items) == 1 {
			value = &list.Items[0]
		}
		return o.encode(value)
	}
	if len(list.Items) == 0 {
		where := "in any namespace"
		if !o.allNamespaces {
			where = "in namespace " + o.namespace()
		}
		fmt.Fprintf(o.streams.ErrOut, "No captures found %s.\n", where)
		return nil
	}
	if o.output == "name" {
		return o.printNames(list.Items)
	}
	t := o.newTable()
	return t.print(t.rows(list.Items))
}

func (o *listOptions) printNames(captures []inventory.Capture) error {
	for i := range captures {
		if _, err := fmt.Fprintln(o.streams.Out, "capture/"+captures[i].Name); err != nil {
			return err
		}
	}
	return nil
}

// encode prints one document.
func (o *listOptions) encode(value any) error {
	var text []byte
	var err error
	if o.output == "json" {
		text, err = json.MarshalIndent(value, "", "  ")
		text = append(text, '\n')
	} else {
		text, err = yaml.Marshal(value)
		if o.watch {
			text = append([]byte("---\n"), text...)
		}
	}
	if err == nil {
		_, err = o.streams.Out.Write(text)
	}
	return err
}

func (o *listOptions) newTable() *captureTable {
	return &captureTable{
		out: o.streams.Out, now: o.now, wide: o.output == "wide", namespaces: o.allNamespaces, headers: !o.noHeaders,
	}
}
