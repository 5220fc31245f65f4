package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/prompt"
	"github.com/kubectl-retina/kubectl-retina/internal/doctor"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// findNodes returns the nodes to look at: those that were named, or all that are
// ready. The check says which are left out.
func (v *visit) findNodes(ctx context.Context) ([]target.Node, doctor.Check, error) {
	c := doctor.Check{Name: doctor.CheckNodes, Status: doctor.OK}
	selection, err := target.Request{NodeNames: v.nodes, AllNodes: len(v.nodes) == 0}.Selection()
	if err != nil {
		return nil, c, err
	}
	found, err := selection.Resolve(ctx, v.cluster.Client)
	if apierrors.IsForbidden(err) {
		return v.unseen(err)
	}
	if err != nil {
		return nil, c, err
	}
	nodes, unready := found.Nodes, []string{}
	if len(v.nodes) == 0 {
		nodes = nil
		for _, n := range found.Nodes {
			if ready(n.Object) {
				nodes = append(nodes, n)
			} else {
				unready = append(unready, n.Name)
			}
		}
	}
	c.Detail = fmt.Sprintf("%d to look at", len(nodes))
	if len(unready) > 0 {
		c.Status = doctor.Unknown
		c.Detail += fmt.Sprintf("; not ready, and left out: %s", strings.Join(unready, ", "))
		c.Hint = "name a node to try it all the same: kubectl retina doctor NODE"
	}
	return nodes, c, nil
}

// unseen is findNodes for a user who may not see nodes: collectors start without
// that right, on nodes that are named.
func (v *visit) unseen(err error) ([]target.Node, doctor.Check, error) {
	if len(v.nodes) == 0 {
		return nil, doctor.Check{Name: doctor.CheckNodes, Status: doctor.Unknown, Detail: err.Error(),
			Hint: "name the nodes: kubectl retina doctor NODE"}, nil
	}
	var nodes []target.Node
	for _, name := range v.nodes {
		nodes = append(nodes, target.Node{Name: name})
	}
	return nodes, doctor.Check{Name: doctor.CheckNodes, Status: doctor.OK, Detail: fmt.Sprintf("%d to look at, unseen", len(nodes))}, nil
}

func ready(node *corev1.Node) bool {
	return node == nil || slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// confirm asks before n nodes, if these are many, get a collector. A no is in the check of the
// nodes: what has been found out of the cluster is worth to be told. Only an
// interrupt is an error.
func (v *visit) confirm(n int, nodes *doctor.Check) (may bool, err error) {
	if v.maxNodes == 0 || n <= v.maxNodes {
		return true, nil
	}
	v.narrator.Close() // the question is not to be behind the live line
	refusal := exit.Usagef("%d nodes are more than --max-nodes %d", n, v.maxNodes)
	err = prompt.Confirm(v.streams, fmt.Sprintf("start a collector on %d nodes?", n), refusal)
	if err == nil || exit.Code(err) == exit.Interrupted {
		return err == nil, err
	}
	nodes.Status, nodes.Hint = doctor.Unknown, fmt.Sprintf("to go on without being asked: --max-nodes %d", n)
	nodes.Detail += fmt.Sprintf("; none was looked at: more than --max-nodes %d, and not confirmed", v.maxNodes)
	return false, nil
}
