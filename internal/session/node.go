package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nodeRequest is the patience with one look at a node.
const nodeRequest = 5 * time.Second

// A nodeView is what can be seen of a node.
type nodeView struct {
	Node *corev1.Node // nil when the user may not see nodes, or it is gone
	// Fault is why no collector can run on the node now.
	Fault error
}

// lookAt returns the named node as it is now. That the user may not see it is
// no error: a run needs no rights outside its namespace.
func (r *Run) lookAt(ctx context.Context, name string) (nodeView, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeRequest)
	defer cancel()
	node, err := r.cfg.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		return nodeView{}, nil
	case apierrors.IsNotFound(err):
		return nodeView{Fault: errors.New("there is no node of this name")}, nil
	case err != nil:
		return nodeView{}, fmt.Errorf("get node: %w", err)
	}
	return nodeView{Node: node, Fault: nodeFault(node)}, nil
}

// nodeFault reports a node whose kubelet will not act on a pod.
func nodeFault(node *corev1.Node) error {
	if os := node.Status.NodeInfo.OperatingSystem; os != "" && os != "linux" {
		return fmt.Errorf("node runs %s, collectors need Linux", oneLine(os))
	}
	if ready := readyCondition(node); ready != nil && ready.Status == corev1.ConditionUnknown {
		return notReady(ready)
	}
	return nil
}

// complaint returns what a node says of itself when it is not ready, or nil.
// Such a node can often start a pod on its own network all the same, so this
// explains a failure and does not predict one.
func (v nodeView) complaint() error {
	if v.Node == nil {
		return nil
	}
	if ready := readyCondition(v.Node); ready != nil && ready.Status != corev1.ConditionTrue {
		return notReady(ready)
	}
	return nil
}

func notReady(ready *corev1.NodeCondition) error {
	return fmt.Errorf("node is not ready: %s", oneLine(ready.Message))
}

func readyCondition(node *corev1.Node) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == corev1.NodeReady {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}
