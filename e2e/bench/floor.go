//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
)

// The floor is the least that any program needs which runs something on a node
// through a pod: create a bare pod, wait until it runs, and exec in it.

// executed is what runFloor prints when that is done.
const executed = "executed"

// runFloor is a program of its own, as the command it is compared with is. Args
// are the namespace and the node.
func runFloor(ctx context.Context, args []string, stdout io.Writer) (err error) {
	if len(args) != 2 {
		return fmt.Errorf("%s wants a namespace and a node, got %q", floorCommand, args)
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv(clientcmd.RecommendedConfigPathEnvVar))
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	pods := client.CoreV1().Pods(args[0])
	pod, err := pods.Create(ctx, barePod(args[1]), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	defer func() {
		background, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		err = errors.Join(err, pods.Delete(background, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	}()
	watch, err := pods.Watch(ctx, metav1.ListOptions{
		FieldSelector: "metadata.name=" + pod.Name, ResourceVersion: pod.ResourceVersion,
	})
	if err != nil {
		return err
	}
	defer watch.Stop()
	for now := pod; !running(now); {
		event, open := <-watch.ResultChan()
		if !open {
			return errors.New("watch ended before the pod ran")
		}
		var ok bool
		if now, ok = event.Object.(*corev1.Pod); !ok {
			return fmt.Errorf("watch: %v", event.Object)
		}
	}
	if err := execTrue(ctx, config, client, pod); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, executed)
	return err
}

// barePod has what makes a pod start fast: a node, the node's network, an image
// that is there, and neither token nor requests.
func barePod(node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "floor-"},
		Spec: corev1.PodSpec{
			NodeName: node, HostNetwork: true, RestartPolicy: corev1.RestartPolicyNever,
			AutomountServiceAccountToken: new(false), EnableServiceLinks: new(false), TerminationGracePeriodSeconds: new(int64(0)),
			ActiveDeadlineSeconds: new(int64(2 * time.Minute / time.Second)),
			Containers: []corev1.Container{{
				Name: "main", Image: "localhost/busybox:1", ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"sleep", "120"},
			}},
		},
	}
}

func running(pod *corev1.Pod) bool {
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Running != nil {
			return true
		}
	}
	return false
}

func execTrue(ctx context.Context, config *rest.Config, client kubernetes.Interface, pod *corev1.Pod) error {
	url := client.CoreV1().RESTClient().Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"true"}, Stdout: true}, scheme.ParameterCodec).URL()
	executor, err := remotecommand.NewWebSocketExecutor(config, "GET", url.String())
	if err != nil {
		return err
	}
	return executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: io.Discard})
}
