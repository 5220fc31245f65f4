// Package doctor is the `doctor` command.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/collectors"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/doctor"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/rights"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const long = `Find out whether captures and measurements work, and say what to do if not.

Without a change to the cluster it checks your rights, whether the collector
namespace takes collectors, and whether anything was left there. Then a collector
starts on each node: the node pulls the image, every plugin is loaded, attached
and read in a network namespace made for that, the clock is compared with this
machine's, and the stream is filled for a second. Nothing is left behind.

Verdicts are ok, warn (it works, with less), fail, and unknown. The exit code is 0
if nothing fails, 1 if something does, and 3 if something could not be checked.

--print-rbac prints the smallest roles with which captures and measurements work,
for the targets of -n or, with -A, of all namespaces and nodes. --print-rbac=all
adds what lets commands do and tell more: a rule's comment says what.`

const example = `  # everything, on all nodes that are ready
  kubectl retina doctor

  # one node, for a script
  kubectl retina doctor n1 -o json

  # what an administrator would grant to ann, for targets in one namespace
  kubectl retina doctor --print-rbac -n shop --bind-to user/ann

  # for targets in all namespaces, with all that is of use
  kubectl retina doctor --print-rbac=all -A --bind-to group/oncall`

// Values of --print-rbac.
const (
	rbacSmallest = "smallest"
	rbacAll      = "all"
)

// defaultStream is how long each node's stream is filled.
const defaultStream = time.Second

type options struct {
	kube    *kube.Flags
	streams genericiooptions.IOStreams
	now     func() time.Time

	collectors    collectors.Flags
	allNamespaces bool
	maxNodes      int
	stream        time.Duration
	output        string
	quiet         bool
	printRBAC     string
	bindTo        []string

	nodes    []string // named ones; none: all
	image    string
	subjects []rights.Subject
}

// New returns the command.
func New(flags *kube.Flags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &options{kube: flags, streams: streams, now: time.Now}
	cmd := &cobra.Command{
		Use:     "doctor [NODE ...]",
		Short:   "Find out whether captures and measurements work here, and what to do if not",
		Long:    long,
		Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(args); err != nil {
				return exit.With(exit.Usage, err)
			}
			return o.run(cmd.Context())
		},
		ValidArgsFunction: o.completeNodes,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "check the rights to find targets in all namespaces, and nodes, not only in the namespace of -n")
	f.IntVar(&o.maxNodes, "max-nodes", 20, "ask before starting collectors on more nodes than this; 0 is any number")
	f.DurationVar(&o.stream, "stream-time", defaultStream, "how long to fill each node's stream, one node after the other; 0 is not at all")
	f.StringVarP(&o.output, "output", "o", "table", "table, json or yaml")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print only the report, warnings and errors")
	o.collectors.AddTo(f)
	f.StringVar(&o.printRBAC, "print-rbac", "", "print the roles that are needed as YAML, and do nothing else: smallest or all")
	f.Lookup("print-rbac").NoOptDefVal = rbacSmallest
	f.StringArrayVar(&o.bindTo, "bind-to", nil, "with --print-rbac: print bindings too, to user/NAME, group/NAME or serviceaccount/NAMESPACE/NAME; repeated: to all of them")
	for flag, values := range map[string][]cobra.Completion{
		"output": doctor.Formats(), "print-rbac": {rbacSmallest, rbacAll}, "bind-to": {"user/", "group/", "serviceaccount/"},
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	}
	return cmd
}

// complete checks the command line.
func (o *options) complete(args []string) (err error) {
	for _, arg := range args {
		kind, name, qualified := strings.Cut(arg, "/")
		if !qualified {
			kind, name = "node", arg
		}
		if !slices.Contains([]string{"node", "nodes", "no"}, kind) {
			return hint.Wrap(fmt.Errorf("%q is not a node", arg), "name nodes, as in: kubectl retina doctor n1")
		}
		if !slices.Contains(o.nodes, name) {
			o.nodes = append(o.nodes, name)
		}
	}
	if len(o.nodes) > 0 {
		if _, err := (target.Request{NodeNames: o.nodes}).Selection(); err != nil {
			return err
		}
	}
	switch {
	case !slices.Contains(doctor.Formats(), o.output):
		return fmt.Errorf("-o %q is not one of %s", o.output, strings.Join(doctor.Formats(), ", "))
	case o.maxNodes < 0:
		return fmt.Errorf("--max-nodes %d is negative", o.maxNodes)
	case o.stream < 0 || o.stream > wire.MaxStreamMS*time.Millisecond:
		return fmt.Errorf("--stream-time %s is not between 0 and %s", o.stream, wire.MaxStreamMS*time.Millisecond)
	case !slices.Contains([]string{"", rbacSmallest, rbacAll}, o.printRBAC):
		return fmt.Errorf("--print-rbac=%s is not one of %s, %s", o.printRBAC, rbacSmallest, rbacAll)
	case len(o.bindTo) > 0 && o.printRBAC == "":
		return hint.Wrap(fmt.Errorf("--bind-to is for roles that are printed"), "add --print-rbac")
	case o.printRBAC != "" && len(o.nodes) > 0:
		return fmt.Errorf("--print-rbac and nodes exclude each other")
	}
	for _, text := range o.bindTo {
		subject, err := rights.ParseSubject(text)
		if err != nil {
			return fmt.Errorf("--bind-to: %w", err)
		}
		o.subjects = append(o.subjects, subject)
	}
	o.image, err = o.collectors.Image()
	return err
}

func (o *options) run(ctx context.Context) error {
	cluster, err := o.kube.Cluster()
	if err != nil {
		return err
	}
	if o.collectors.Namespace == "" {
		o.collectors.Namespace = cluster.ContextNamespace
	}
	if o.printRBAC != "" {
		_, err := fmt.Fprint(o.streams.Out, o.roles(cluster.Namespace))
		return err
	}
	return newVisit(o, cluster).run(ctx)
}

// roles are what --print-rbac prints; namespace is that of the targets.
func (o *options) roles(namespace string) string {
	words := []string{"kubectl retina doctor --print-rbac", "-n " + namespace}
	if o.printRBAC == rbacAll {
		words[0] += "=" + rbacAll
	}
	if o.allNamespaces {
		namespace, words[1] = "", "-A"
	}
	words = append(words, "--collector-namespace "+o.collectors.Namespace)
	return rights.Manifest(rights.Options{
		Collectors: o.collectors.Namespace, Targets: namespace, Everything: o.printRBAC == rbacAll,
		Subjects: o.subjects, Command: strings.Join(words, " "),
	})
}

// completionTime is how long a shell waits for names.
const completionTime = 3 * time.Second

// completeNodes completes with the names of Linux nodes.
func (o *options) completeNodes(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp
	cluster, err := o.kube.Cluster()
	if err != nil {
		return nil, directive
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	nodes, err := cluster.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: corev1.LabelOSStable + "=linux", Limit: 500})
	if err != nil {
		return nil, directive
	}
	var names []cobra.Completion
	for i := range nodes.Items {
		if name := nodes.Items[i].Name; strings.HasPrefix(name, word) && !slices.Contains(args, name) {
			names = append(names, name)
		}
	}
	return names, directive
}
