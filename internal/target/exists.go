package target

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Exists returns an error that suggests names if the user may see that there is
// no such object. Kind is pod, service, node or namespace; the last two have no
// namespace.
func Exists(ctx context.Context, client kubernetes.Interface, kindName, namespace, name string) error {
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
		_, err = client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	default:
		_, err = client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return o.getError(ctx, client, err)
	}
	return nil
}
