package capture

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// readyNode returns a Linux node that is ready, for what can run on any.
func readyNode(ctx context.Context, client kubernetes.Interface) (string, error) {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: corev1.LabelOSStable + "=linux", Limit: 100})
	if err != nil {
		return "", hint.Wrap(fmt.Errorf("find a node for the collector: %w", err), "name one with --node")
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		for _, condition := range n.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue && !n.Spec.Unschedulable {
				return n.Name, nil
			}
		}
	}
	return "", hint.Wrap(errors.New("no node is ready"), "name one with --node")
}
