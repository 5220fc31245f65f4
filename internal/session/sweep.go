package session

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// sweep deletes collector pods in namespace that have ended and whose lease is
// gone. Garbage collection does that too, so they are there only when a run
// was killed while the controller manager did not work.
func sweep(ctx context.Context, client kubernetes.Interface, namespace string) error {
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: collectorSelector()})
	if err != nil {
		return err
	}
	var errs []error
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			continue
		}
		_, err := client.BatchV1().Jobs(namespace).Get(ctx, leaseName(pod.Labels[LabelRun], pod.Labels[LabelCapture]), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			err = deletePod(ctx, client, namespace, pod.Name, pod.UID)
		}
		errs = append(errs, err)
	}
	return and(errs...)
}
