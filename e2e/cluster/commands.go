//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "cluster",
		Short: "A real Kubernetes cluster on this machine, for tests",
		Long: "A real Kubernetes cluster on this machine, for tests. Needs root.\n\n" +
			"RETINA_E2E_STATE  what the running cluster needs, and its logs (/tmp/kubectl-retina-e2e)\n" +
			"RETINA_E2E_CACHE  the built programs, kept (/var/cache/kubectl-retina/e2e)",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newDepsCommand(), newUpCommand(), newDownCommand(), newStatusCommand(),
		newRunCommand(), newNodeCommand(), newKubeconfigCommand(), newLoadCommand())
	for _, action := range nodeActions() {
		root.AddCommand(newNodeActionCommand(action))
	}
	return root
}

func newDepsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "deps",
		Short: "Install the Debian packages that are missing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return installDependencies(cmd.Context(), cmd.ErrOrStderr())
		},
	}
}

func newUpCommand() *cobra.Command {
	var nodes int
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the cluster, or see that it is healthy",
		Long: "Start the cluster, or see that it is healthy. The first time the Kubernetes programs are built, which takes\n" +
			"about 6 minutes. What an earlier cluster left, however it ended, is swept first.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := lab.FromEnvironment()
			if err != nil {
				return err
			}
			if err := up(cmd.Context(), s, nodes, cmd.ErrOrStderr()); err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), usage)
			return err
		},
	}
	cmd.Flags().IntVar(&nodes, "nodes", 2, fmt.Sprintf("number of nodes, 1 to %d", maxNodes))
	return cmd
}

const usage = `use it:   go run ./e2e/cluster run kubectl get nodes -o wide
a node:   go run ./e2e/cluster node n1 ip address
images:   localhost/busybox:1  localhost/retina-traffic:1
end it:   go run ./e2e/cluster down
`

func newDownCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the cluster and remove all of it but the built programs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := lab.FromEnvironment()
			if err != nil {
				return err
			}
			return down(cmd.Context(), s, cmd.ErrOrStderr())
		},
	}
}

func newStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say what runs; fail if it is not healthy",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := open()
			if err != nil {
				return err
			}
			return status(cmd.Context(), c, cmd.OutOrStdout())
		},
	}
}

func newKubeconfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the administrator's kubeconfig",
		Long:  "Print the path of the administrator's kubeconfig. Its server answers to what is started with `run` only.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := open()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), c.Kubeconfig())
			return err
		},
	}
}

func newLoadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "load ARCHIVE...",
		Short: "Import image archives (docker save, OCI layout) into every node",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, archives []string) error {
			c, err := open()
			if err != nil {
				return err
			}
			for _, archive := range archives {
				if err := c.Load(cmd.Context(), archive); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func newRunCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run COMMAND [ARGUMENT...]",
		Short: "Run a command where the API server answers, with KUBECONFIG set",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := open()
			if err != nil {
				return err
			}
			return become(c.Argv(args...), c.Environment(os.Environ()))
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func newNodeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node NODE COMMAND [ARGUMENT...]",
		Short: "Run a command on a node, as root, in all its namespaces",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := open()
			if err != nil {
				return err
			}
			m, err := c.Node(args[0])
			if err != nil {
				return err
			}
			return become(lab.NodeArgv(m, args[1:]...), os.Environ())
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// nodeAction is a command that makes a node fail or work again.
type nodeAction struct {
	name, short string
	do          func(*lab.Cluster, context.Context, string) error
}

func nodeActions() []nodeAction {
	return []nodeAction{
		{"stop-kubelet", "Stop a node's kubelet; the node is not ready some 20 s later", (*lab.Cluster).StopKubelet},
		{"start-kubelet", "Start it again", (*lab.Cluster).StartKubelet},
		{"disconnect", "Pull a node's network cable", (*lab.Cluster).Disconnect},
		{"reconnect", "Plug it in again", (*lab.Cluster).Reconnect},
	}
}

func newNodeActionCommand(action nodeAction) *cobra.Command {
	return &cobra.Command{
		Use:   action.name + " NODE",
		Short: action.short,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := open()
			if err != nil {
				return err
			}
			return action.do(c, cmd.Context(), args[0])
		},
	}
}

// open finds the running cluster. Entering its namespaces takes root.
func open() (*lab.Cluster, error) {
	if err := needRoot("use the cluster"); err != nil {
		return nil, err
	}
	s, err := lab.FromEnvironment()
	if err != nil {
		return nil, err
	}
	return lab.Open(s)
}

// become replaces this process by argv, so that signals and the exit code are
// those of the command.
func become(argv, env []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, argv, env))
}
