//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// status prints the machines and what Kubernetes says about its nodes and
// pods, and fails if the cluster is not healthy now.
func status(ctx context.Context, c *lab.Cluster, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "MACHINE\tPID\tIPV4\tIPV6\tLOGS")
	for _, m := range c.Machines() {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s/%s\n", m.Name, m.Init.PID, m.IPv4, m.IPv6, c.State, m.Name)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, args := range [][]string{{"get", "nodes"}, {"get", "pods", "--all-namespaces", "--output=wide"}} {
		text, err := kubectl(ctx, c, "", args...)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\n%s", text)
	}
	return waitHealthy(ctx, c)
}
