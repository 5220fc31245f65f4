//go:build linux && !unit

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// wantNoFile checks that a capture that never began left no file.
func wantNoFile(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", path, err)
	}
}

// wantNothingCreated runs f and fails if a pod, job or secret of ours was
// created meanwhile, however short.
func wantNothingCreated(t *testing.T, f func()) {
	t.Helper()
	// From a known version on: a watch without one begins when the server's
	// cache has caught up, seconds later.
	list, err := the.client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	since := metav1.ListOptions{LabelSelector: ours, ResourceVersion: list.ResourceVersion}
	pods, err := the.client.CoreV1().Pods("").Watch(t.Context(), since)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := the.client.BatchV1().Jobs("").Watch(t.Context(), since)
	if err != nil {
		t.Fatal(err)
	}
	f()
	// What is seen before a marker that is created now was created by f.
	marker := metav1.ObjectMeta{GenerateName: "marker-", Namespace: collectorNamespace, Labels: map[string]string{"app.kubernetes.io/name": "kubectl-retina"}}
	template := corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, NodeSelector: map[string]string{"absent": "true"}, Containers: []corev1.Container{{Name: "main", Image: absentImage}}}
	pod, err := the.client.CoreV1().Pods(collectorNamespace).Create(t.Context(), &corev1.Pod{ObjectMeta: marker, Spec: template}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	job, err := the.client.BatchV1().Jobs(collectorNamespace).Create(t.Context(), &batchv1.Job{ObjectMeta: marker, Spec: batchv1.JobSpec{
		Completions: new(int32(0)), Parallelism: new(int32(0)), Template: corev1.PodTemplateSpec{Spec: template},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantFirst(t, pods, pod.Name)
	wantFirst(t, jobs, job.Name)
	kubectl(t, "delete", "pod/"+pod.Name, "job/"+job.Name, "-n", collectorNamespace)
}

// wantFirst waits for the object called name and fails if another came first.
func wantFirst(t *testing.T, w watch.Interface, name string) {
	t.Helper()
	defer w.Stop()
	for e := range w.ResultChan() {
		object, ok := e.Object.(metav1.Object)
		if !ok {
			t.Fatalf("watch: %+v", e.Object)
		}
		if object.GetName() == name {
			return
		}
		if e.Type == watch.Added {
			t.Errorf("created: %T %s", e.Object, object.GetName())
		}
	}
	t.Error("watch ended before it saw " + name)
}

// TestWrongInput is refused before anything is created.
func TestWrongInput(t *testing.T) {
	s := openShop(t, "")
	missing := filepath.Join(t.TempDir(), "missing", "file")
	for name, test := range map[string]struct {
		args  []string
		code  int
		texts []string
	}{
		"no target":              {nil, 2, []string{"error: no target given", "--node-selectors kubernetes.io/os=linux"}},
		"a name that is not":     {[]string{"pod/web-n3", "-n", s.namespace}, 1, []string{`pod "web-n3" not found in namespace "` + s.namespace + `"`, "hint: did you mean", "web-n1"}},
		"a service that is not":  {[]string{"svc/wbe", "-n", s.namespace}, 1, []string{`"wbe" not found`, "web"}},
		"a type that is not":     {[]string{"dpeloy/web", "-n", s.namespace}, 2, []string{"dpeloy"}},
		"a namespace that isn't": {[]string{"pod/web", "-n", "e2e-absent"}, 1, []string{`"e2e-absent"`}},
		"a node that is not":     {[]string{"node/n9"}, 1, []string{`node "n9" not found`}},
		"no match":               {[]string{"-l", "app=none", "-n", s.namespace}, 1, []string{"no pod matches -l app=none in namespace " + s.namespace}},
		"two ways":               {[]string{"pod/x", "--node-selectors", "a=b"}, 2, []string{"cannot be combined"}},
		"negative size":          {[]string{"pod/web-n1", "--max-size", "-1"}, 2, []string{"--max-size -1"}},
		"negative count":         {[]string{"pod/web-n1", "--packet-count", "-1"}, 2, []string{"--packet-count -1"}},
		"tiny snaplen":           {[]string{"pod/web-n1", "--packet-size", "3"}, 2, []string{"--packet-size 3"}},
		"duration":               {[]string{"pod/web-n1", "--duration", "soon"}, 2, []string{`--duration "soon" is not a time`, "hint: write 10s, 5m or 1h"}},
		"negative duration":      {[]string{"pod/web-n1", "--duration", "-5s"}, 2, []string{"--duration -5s"}},
		"selector":               {[]string{"-l", "app=(("}, 2, []string{"-l", "is not a label selector"}},
		"format":                 {[]string{"pod/web-n1", "--format", "erf"}, 2, []string{"erf"}},
		"output":                 {[]string{"pod/web-n1", "-o", "xml"}, 2, []string{`-o "xml"`}},
		"flag":                   {[]string{"pod/web-n1", "--filterr", "x"}, 2, []string{"--filterr"}},
		"missing directory":      {[]string{"pod/web-n1", "-n", s.namespace, "--write", missing}, 1, []string{"directory " + filepath.Dir(missing) + " does not exist"}},
		"a directory":            {[]string{"pod/web-n1", "-n", s.namespace, "--write", t.TempDir()}, 1, []string{"is a directory"}},
		"context":                {[]string{"pod/web-n1", "--context", "absent"}, 1, []string{`no context "absent"`, "hint: its contexts are:"}},
		"kubeconfig":             {[]string{"pod/web-n1", "--kubeconfig", missing}, 1, []string{missing}},
		"unreachable":            {[]string{"pod/web-n1", "--server", "https://127.0.0.1:1"}, 1, []string{"127.0.0.1:1", "connection refused", "hint: "}},
		"collector namespace":    {[]string{"pod/web-n1", "-n", s.namespace, "--collector-namespace", "e2e-absent"}, 1, []string{"collector namespace e2e-absent does not exist"}},
	} {
		t.Run(name, func(t *testing.T) {
			wantNothingCreated(t, func() {
				r := retina(t, append([]string{"capture", "create"}, test.args...)...)
				r.wantError(t, test.code, test.texts...)
				if strings.Count(r.stderr, "error: ") != 1 {
					t.Errorf("more than one error:\n%s", r.stderr)
				}
			})
		})
	}
}

func TestContextAndKubeconfigPickTheCluster(t *testing.T) {
	s := openShop(t, "")
	// Two contexts: the current one leads nowhere.
	file := filepath.Join(t.TempDir(), "two.conf")
	admin, err := os.ReadFile(the.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, admin, 0o600); err != nil {
		t.Fatal(err)
	}
	real := strings.TrimSpace(kubectl(t, "config", "current-context", "--kubeconfig", file))
	kubectl(t, "config", "set-cluster", "nowhere", "--server=https://127.0.0.1:1", "--kubeconfig", file)
	kubectl(t, "config", "set-context", "nowhere", "--cluster=nowhere", "--namespace=elsewhere", "--kubeconfig", file)
	kubectl(t, "config", "set-context", real, "--namespace="+s.namespace, "--kubeconfig", file)
	kubectl(t, "config", "use-context", "nowhere", "--kubeconfig", file)
	args := []string{"capture", "create", "pod/web-n1", "--duration", "1s", "--write", filepath.Join(t.TempDir(), "x.pcapng"), "--collector-namespace", collectorNamespace}

	t.Run("current context", func(t *testing.T) {
		wantNothingCreated(t, func() {
			retina(t, append(args, "--kubeconfig", file)...).wantError(t, 1, "127.0.0.1:1")
		})
	})
	t.Run("--context", func(t *testing.T) {
		// Its namespace is where pod/web-n1 is.
		retina(t, append(args, "--kubeconfig", file, "--context", real)...).wantCode(t, 0)
	})
	t.Run("KUBECONFIG", func(t *testing.T) {
		p := startIn(t, t.TempDir(), []string{"KUBECONFIG=" + file}, append(args, "--context", real)...)
		p.wait(t).wantCode(t, 0)
	})
	wantNothingLeft(t)
}

func TestImageThatCannotBePulled(t *testing.T) {
	s := openShop(t, "")
	r, file := capture(t, "pod/web-n1", "-n", s.namespace, "--duration", "5s", "--image", absentImage)
	r.wantError(t, 1, "node n1: ", absentImage, "ErrImagePull", "connection refused", "pass --image")
	wantNoFile(t, file)
	if r.took > 20*time.Second {
		t.Errorf("it took %s to say so", r.took)
	}
	wantNothingLeft(t)
}

func TestNodeThatIsDown(t *testing.T) {
	s := openShop(t, "")
	if err := the.StopKubelet(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := the.StartKubelet(context.Background(), "n2"); err != nil {
			t.Error(err)
		}
		waitReady(t, "n2", corev1.ConditionTrue)
	})
	waitReady(t, "n2", corev1.ConditionUnknown)
	p, file := startCapture(t, "-l", "app=client", "-n", s.namespace, "--duration", "4s", "-o", "json")
	p.waitFor(t, "capturing")
	s.send(t, s.client["n1"], s.web["n1"].Status.PodIP, 10)
	r := p.wait(t)
	r.wantCode(t, 3)
	if !strings.Contains(r.stderr, "error: node n2: ") || r.took > 30*time.Second {
		t.Errorf("%s", r)
	}
	sum := parseSummary(t, r.stdout)
	for _, n := range sum.Nodes {
		if n.Ready != (n.Name == "n1") || (n.Error != "") != (n.Name == "n2") {
			t.Errorf("node in summary: %+v", n)
		}
	}
	if got := rows(t, file, "udp.dstport == 9090", "frame.number"); len(got) != 10 {
		t.Errorf("%d datagrams of the other node, want 10", len(got))
	}
	wantNothingLeft(t)
}

func waitReady(t testing.TB, node string, want corev1.ConditionStatus) {
	t.Helper()
	eventually(t, 90*time.Second, func() error {
		n, err := the.client.CoreV1().Nodes().Get(context.Background(), node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status != want {
				return fmt.Errorf("node %s is %s: %s", node, c.Status, c.Message)
			}
		}
		return nil
	})
}

func TestCordonedAndFullNode(t *testing.T) {
	s := openShop(t, "")
	node, err := the.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cpu, memory := node.Status.Allocatable.Cpu().MilliValue(), node.Status.Allocatable.Memory().Value()
	pods, err := the.client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=n1,status.phase=Running"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		for _, c := range p.Spec.Containers {
			cpu -= c.Resources.Requests.Cpu().MilliValue()
			memory -= c.Resources.Requests.Memory().Value()
		}
	}
	hog := fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: hog, namespace: %s}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "%s", args: [serve], resources: {requests: {cpu: %dm, memory: "%d"}}}]
`, s.namespace, trafficImage, cpu, memory)
	apply(t, hog)
	runningPod(t, s.namespace, "hog")
	kubectl(t, "cordon", "n1")
	kubectl(t, "taint", "node", "n1", "e2e=full:NoSchedule")
	t.Cleanup(func() {
		kubectl(t, "uncordon", "n1")
		kubectl(t, "taint", "node", "n1", "e2e-")
	})
	p, file := startCapture(t, "pod/web-n1", "-n", s.namespace, "--duration", "4s")
	p.waitFor(t, "capturing")
	s.send(t, s.client["n2"], s.web["n1"].Status.PodIP, 10)
	p.wait(t).wantCode(t, 0)
	if got := rows(t, file, "udp.dstport == 9090", "frame.number"); len(got) != 10 {
		t.Errorf("%d datagrams, want 10", len(got))
	}
	wantNothingLeft(t)
}

func TestPodSecurity(t *testing.T) {
	const level = "pod-security.kubernetes.io/enforce: restricted"
	s := openShop(t, level)
	t.Run("targets in a restricted namespace", func(t *testing.T) {
		p, file := startCapture(t, "-l", "app=web", "-n", s.namespace, "--duration", "4s")
		p.waitFor(t, "capturing")
		s.send(t, s.client["n2"], s.web["n1"].Status.PodIP, 10)
		p.wait(t).wantCode(t, 0)
		if got := rows(t, file, "udp.dstport == 9090", "frame.number"); len(got) != 10 {
			t.Errorf("%d datagrams, want 10", len(got))
		}
	})
	t.Run("collectors in a restricted namespace", func(t *testing.T) {
		wantNothingCreated(t, func() {
			file := filepath.Join(t.TempDir(), "x.pcapng")
			r := retina(t, "capture", "create", "pod/web-n1", "-n", s.namespace, "--collector-namespace", s.namespace, "--duration", "2s", "--write", file)
			r.wantError(t, 1, "restricted", s.namespace, "pod-security.kubernetes.io/enforce=privileged", "--collector-namespace")
			wantNoFile(t, file)
		})
	})
	wantNothingLeft(t)
}

func TestQuota(t *testing.T) {
	s := openShop(t, "")
	namespace := uniqueName(t) + "-q"
	apply(t, namespaceYAML(namespace, "")+fmt.Sprintf("---\napiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none, namespace: %s}\nspec: {hard: {pods: \"0\"}}\n", namespace))
	eventually(t, 20*time.Second, func() error {
		q, err := the.client.CoreV1().ResourceQuotas(namespace).Get(t.Context(), "none", metav1.GetOptions{})
		if err == nil && len(q.Status.Hard) == 0 {
			err = errors.New("quota is not in force yet")
		}
		return err
	})
	r := retina(t, "capture", "create", "pod/web-n1", "-n", s.namespace, "--collector-namespace", namespace, "--duration", "2s", "--write", filepath.Join(t.TempDir(), "x"))
	r.wantError(t, 1, "exceeded quota")
	wantNothingLeft(t)
}
