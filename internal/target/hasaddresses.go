package target

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
)

// HasAddresses returns an error that suggests names if the user may see that there is
// no such object, and one that says so if it is a service that stands for a name
// outside the cluster, which never has addresses. Kind is pod, service, node or
// namespace; the last two have no namespace.
func HasAddresses(ctx context.Context, client kubernetes.Interface, kindName, namespace, name string) error {
	if kindName == "namespace" {
		return missingNamespace(ctx, client, name)
	}
	k, _ := kindOf(kindName)
	o := object{kind: k, namespace: namespace, name: name}
	var err error
	switch kindName {
	case "pod":
		_, err = client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	case "service":
		var service *corev1.Service
		service, err = client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && service.Spec.Type == corev1.ServiceTypeExternalName {
			outside := oneline.Text(service.Spec.ExternalName)
			return hint.Wrap(fmt.Errorf("service %q in namespace %q stands for %s outside the cluster, and has no addresses", name, namespace, outside), "write: host "+outside)
		}
	default:
		_, err = client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return o.getError(ctx, client, err)
	}
	return nil
}
