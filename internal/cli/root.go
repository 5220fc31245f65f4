// Package cli is the command line: the root command, and how a command's end
// is told to the user and to the shell.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/cleanup"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/doctor"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/metrics"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/plugins"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/shell"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/version"
)

// Run executes the command line and returns its exit code. ctx ends when the
// user interrupts.
func Run(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	// client-go logs what it returns as errors too, over the user's terminal.
	klog.SetLogger(logr.Discard())
	root := NewRoot(streams)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, exit.ErrSilent) {
		report(streams.ErrOut, err)
	}
	return exit.Code(err)
}

// report prints an error in one line, and what to do about it in another.
func report(w io.Writer, err error) {
	fmt.Fprintln(w, "error:", oneline.Text(err.Error()))
	if text := hint.Of(err); text != "" {
		fmt.Fprintln(w, "hint:", oneline.Text(text))
	}
}

// NewRoot returns the command tree.
func NewRoot(streams genericiooptions.IOStreams) *cobra.Command {
	flags := kube.NewFlags()
	root := group(&cobra.Command{
		Use:   "kubectl-retina",
		Short: "See and capture a cluster's traffic with one command and nothing installed",
		Long: `See and capture a cluster's traffic with one command and nothing installed.

kubectl retina starts short-lived collectors on the nodes of the pods that you
name, streams what they see to this machine, and leaves nothing behind.`,
		Example: `  # ten seconds of all traffic of a deployment, from all its nodes, in one file
  kubectl retina capture create deploy/web -n shop --duration 10s

  # read along
  kubectl retina capture create -l app=web -A --duration 5s --write - | tshark -r -`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl retina"},
		SilenceErrors: true,
		SilenceUsage:  true,
	})
	root.Version = version.Get().Version
	root.SetVersionTemplate(versionLine(version.Get()) + "\n")
	root.Flags().Bool("version", false, "print the version, in one line") // cobra's own has -v, which kubectl means otherwise
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if hint.Of(err) == "" {
			err = hint.Wrap(err, "see: "+cmd.CommandPath()+" --help")
		}
		return exit.With(exit.Usage, err)
	})
	flags.AddTo(root)
	captures := group(&cobra.Command{Use: "capture", Short: "Capture packets of pods and nodes"})
	captures.AddCommand(
		capture.NewCreate(flags, streams), capture.NewList(flags, streams), capture.NewLogs(flags, streams), capture.NewStop(flags, streams),
		capture.NewDownload(flags, streams), capture.NewDelete(flags, streams), capture.NewRead(streams), capture.NewFilter(streams),
	)
	measurements := group(&cobra.Command{Use: "metrics", Short: "Measure what pods and nodes send, lose and wait for"})
	measurements.AddCommand(metrics.Commands(flags, streams)...)
	root.AddCommand(captures, measurements, plugins.New(streams), doctor.New(flags, streams), shell.New(flags, streams, os.Getenv), cleanup.New(flags, streams), newVersion(streams))
	root.AddCommand(newCompletion(streams))
	return root
}

// group makes cmd one that only holds others: it prints its help without
// arguments, and refuses a word that is none of them.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		err := exit.Usagef("unknown command %q for %q", args[0], cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return hint.Wrap(err, "did you mean "+cmd.CommandPath()+" "+near[0]+"?")
		}
		return hint.Wrap(err, "see: "+cmd.CommandPath()+" --help")
	}
	cmd.SuggestionsMinimumDistance = 2
	return cmd
}
