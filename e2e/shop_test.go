//go:build linux && !unit

package e2e

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A shop is a namespace with a server and a client on each of two nodes:
// web-n1, web-n2 (label app=web) and client-n1, client-n2 (app=client). The
// servers belong to the service web.
type shop struct {
	namespace string
	web       map[string]*corev1.Pod // by node
	client    map[string]*corev1.Pod // by node
}

// podYAML describes a pod of the traffic image; extra goes into its spec.
func podYAML(namespace, name, node, labels, extra string) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %q, namespace: %s, labels: {%s}}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "%s", imagePullPolicy: IfNotPresent, args: [serve], securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]
  %s
`, name, namespace, labels, node, trafficImage, extra)
}

func namespaceYAML(name, labels string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {%s}}\n", name, labels)
}

// openShop makes a shop and waits until its pods run.
func openShop(t *testing.T, namespaceLabels string) *shop {
	t.Helper()
	s := &shop{namespace: uniqueName(t), web: map[string]*corev1.Pod{}, client: map[string]*corev1.Pod{}}
	manifest := namespaceYAML(s.namespace, namespaceLabels)
	for _, node := range []string{"n1", "n2"} {
		manifest += podYAML(s.namespace, "web-"+node, node, "app: web", restricted)
		manifest += podYAML(s.namespace, "client-"+node, node, "app: client", restricted)
	}
	manifest += fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: %s}\nspec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}\n", s.namespace)
	apply(t, manifest)
	for _, node := range []string{"n1", "n2"} {
		s.web[node] = runningPod(t, s.namespace, "web-"+node)
		s.client[node] = runningPod(t, s.namespace, "client-"+node)
	}
	return s
}

// restricted makes a pod fit for a namespace of that Pod Security level.
const restricted = `securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}`

// uniqueName is a namespace's name for one test.
func uniqueName(t *testing.T) string {
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	return fmt.Sprintf("e2e-%s-%s", name[:min(len(name), 30)], strconv.FormatInt(time.Now().UnixNano()%1e9, 36))
}

// runningPod waits until a pod is ready and has its addresses.
func runningPod(t testing.TB, namespace, name string) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	eventually(t, time.Minute, func() (err error) {
		pod, err = the.client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && (pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "") {
			err = fmt.Errorf("pod %s is %s: %+v", name, pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		return err
	})
	return pod
}

// traffic runs the traffic program in a pod and returns all that it says.
func (s *shop) traffic(t testing.TB, pod *corev1.Pod, args ...string) string {
	t.Helper()
	args = append([]string{"kubectl", "exec", "-n", pod.Namespace, pod.Name, "--", "/bin/traffic"}, args...)
	out, err := the.Command(context.Background(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// get makes count requests from one pod to another.
func (s *shop) get(t testing.TB, from, to *corev1.Pod, path string, count int) {
	t.Helper()
	out := s.traffic(t, from, "http-get", "--url", "http://"+net.JoinHostPort(to.Status.PodIP, "8080")+path, "--every", "20ms", "--count", strconv.Itoa(count))
	if !strings.Contains(out, fmt.Sprintf("got %d, failed 0", count)) {
		t.Fatalf("http-get: %s", out)
	}
}

// send sends count datagrams from one pod to an address.
func (s *shop) send(t testing.TB, from *corev1.Pod, to string, count int, more ...string) {
	t.Helper()
	args := append([]string{"udp-send", "--to", net.JoinHostPort(to, "9090"), "--count", strconv.Itoa(count)}, more...)
	if out := s.traffic(t, from, args...); !strings.Contains(out, fmt.Sprintf("sent %d", count)) {
		t.Fatalf("udp-send: %s", out)
	}
}

// v6 is the pod's IPv6 address.
func v6(pod *corev1.Pod) string {
	for _, ip := range pod.Status.PodIPs {
		if strings.Contains(ip.IP, ":") {
			return ip.IP
		}
	}
	return ""
}
