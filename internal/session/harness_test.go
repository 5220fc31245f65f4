package session

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/util/exec"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const testNamespace = "netops"

// A cluster is a fake API server, a kubelet that is a function, and collectors
// that are functions too. It lives in a synctest bubble, so all time is its own.
type cluster struct {
	*fake.Clientset
	t *testing.T
	// kubelet is told of each pod that is created. Nil: it runs at once.
	kubelet func(pod *corev1.Pod)
	// collector is one exec. Nil: obedient.
	collector func(c *collectorEnd) error
	// program is what is exec'd. Empty: run.
	program string

	mu     sync.Mutex
	events []Event
	execs  []types.NamespacedName
}

func newCluster(t *testing.T, nodes ...string) *cluster {
	t.Helper()
	objects := make([]runtime.Object, len(nodes))
	for i, name := range nodes {
		objects[i] = testNode(name, corev1.ConditionTrue, "kubelet is posting ready status")
	}
	// NewClientset manages fields too, which nothing here needs and which costs
	// a quarter of a second for each test.
	c := &cluster{Clientset: fake.NewSimpleClientset(objects...), t: t}
	c.PrependReactor("create", "selfsubjectaccessreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &authorizationv1.SelfSubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Allowed: true}}, nil
	})
	c.PrependReactor("create", "pods", c.admit)
	c.PrependReactor("create", "jobs", c.admit)
	return c
}

// admit does what the fake does not: a dry run is not stored, an object gets a
// UID, and the kubelet hears of a pod.
func (c *cluster) admit(action clienttesting.Action) (bool, runtime.Object, error) {
	create := action.(clienttesting.CreateActionImpl)
	if slices.Contains(create.CreateOptions.DryRun, metav1.DryRunAll) {
		return true, create.GetObject(), nil
	}
	object, err := meta.Accessor(create.GetObject())
	if err != nil {
		return true, nil, err
	}
	object.SetUID(types.UID("uid-of-" + object.GetName()))
	if err := c.Tracker().Create(create.GetResource(), create.GetObject(), create.GetNamespace()); err != nil {
		return true, nil, err
	}
	if pod, ok := create.GetObject().(*corev1.Pod); ok {
		kubelet := c.kubelet
		if kubelet == nil {
			kubelet = c.runs
		}
		go kubelet(pod.DeepCopy())
	}
	return true, create.GetObject(), nil
}

func testNode(name string, ready corev1.ConditionStatus, message string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{
			NodeInfo:   corev1.NodeSystemInfo{OperatingSystem: "linux"},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, Message: message}},
		},
	}
}

// runs is the kubelet on a good day.
func (c *cluster) runs(pod *corev1.Pod) {
	c.update(pod.Name, func(s *corev1.PodStatus) {
		s.Phase = corev1.PodRunning
		s.ContainerStatuses = []corev1.ContainerStatus{{
			Name:  CollectorContainer,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}
	})
}

// waits is the kubelet that cannot start the container.
func (c *cluster) waits(reason, message string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		c.update(pod.Name, func(s *corev1.PodStatus) {
			s.Phase = corev1.PodPending
			s.ContainerStatuses = []corev1.ContainerStatus{{
				Name:  CollectorContainer,
				State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
			}}
		})
	}
}

// update changes a pod's status, if the pod is still there.
func (c *cluster) update(name string, change func(*corev1.PodStatus)) {
	pods := c.CoreV1().Pods(testNamespace)
	pod, err := pods.Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return
	}
	change(&pod.Status)
	if _, err := pods.UpdateStatus(context.Background(), pod, metav1.UpdateOptions{}); err != nil {
		c.t.Logf("update pod %s: %v", name, err)
	}
}

func (c *cluster) setNode(node *corev1.Node) {
	c.t.Helper()
	if _, err := c.CoreV1().Nodes().Update(context.Background(), node, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// left returns the names of all pods and jobs.
func (c *cluster) left() []string {
	c.t.Helper()
	var names []string
	pods, err := c.CoreV1().Pods("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, pod := range pods.Items {
		names = append(names, "pod "+pod.Name)
	}
	jobs, err := c.BatchV1().Jobs("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, job := range jobs.Items {
		names = append(names, "job "+job.Name)
	}
	return names
}

func (c *cluster) wantNothingLeft() {
	c.t.Helper()
	if left := c.left(); len(left) > 0 {
		c.t.Errorf("left in the cluster: %q", left)
	}
}

// asked returns the actions with this verb and resource, "pods" or "pods/exec".
func (c *cluster) asked(verb, resource string) []clienttesting.Action {
	var actions []clienttesting.Action
	for _, a := range c.Actions() {
		if a.Matches(verb, resource) {
			actions = append(actions, a)
		}
	}
	return actions
}

func (c *cluster) note(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
}

func (c *cluster) phases(node string) []Phase {
	c.mu.Lock()
	defer c.mu.Unlock()
	var phases []Phase
	for _, e := range c.events {
		if e.Node == node {
			phases = append(phases, e.Phase)
		}
	}
	return phases
}

func (c *cluster) config() Config {
	return Config{
		Client:    c.Clientset,
		Executor:  c,
		Namespace: testNamespace,
		Image:     "registry.example/retina-collector:v1",
		MaxRun:    time.Hour,
		Events:    c.note,
	}
}

// open opens a run that is closed when the test ends, and waits until it
// watches: the fake has no resource versions to watch from.
func (c *cluster) open(ctx context.Context) *Run {
	c.t.Helper()
	run, err := Open(ctx, c.config())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = run.Close(context.Background()) })
	synctest.Wait()
	return run
}

func (c *cluster) start(run *Run, node string) *Session {
	c.t.Helper()
	session, err := run.Start(c.t.Context(), node, testSpec())
	if err != nil {
		c.t.Fatal(err)
	}
	return session
}

func (c *cluster) close(run *Run) {
	c.t.Helper()
	if err := run.Close(context.Background()); err != nil {
		c.t.Errorf("close: %v", err)
	}
	c.wantNothingLeft()
}

func testSpec() wire.Spec {
	return wire.Spec{Packets: &wire.PacketsSpec{
		SnapLen:   128,
		RingBytes: wire.MinRingBytes,
		Targets:   []wire.Target{{ID: 7, Name: "pod shop/web-1", PodUID: "11111111-2222-3333-4444-555555555555"}},
	}}
}

// A collectorEnd is the collector's end of an exec.
type collectorEnd struct {
	frames *wire.Reader
	out    *wire.Writer
	stderr io.Writer
	pod    types.NamespacedName
	cut    context.CancelFunc // ends the exec as a broken connection does
	gone   <-chan struct{}    // closed when the command has ended the exec

	ahead   time.Duration // of this node's clock
	onReady func() error  // called once ready is sent
	spec    wire.Spec
	pings   []time.Time // when pings came
}

var errConnectionLost = errors.New("next reader: read tcp: connection reset by peer")

// Exec implements [Executor].
func (c *cluster) Exec(ctx context.Context, pod types.NamespacedName, command []string, stdin io.Reader, stdout, stderr io.Writer) error {
	program := cmp.Or(c.program, "run")
	if want := []string{"/retina-collector", program}; !slices.Equal(command, want) {
		return fmt.Errorf("command %q, want %q", command, want)
	}
	c.mu.Lock()
	c.execs = append(c.execs, pod)
	c.mu.Unlock()
	collector := c.collector
	if collector == nil {
		collector = obey
	}
	broken, cut := context.WithCancel(context.Background())
	defer cut()
	end := &collectorEnd{frames: wire.NewReader(stdin), out: wire.NewWriter(stdout), stderr: stderr, pod: pod, cut: cut, gone: ctx.Done()}
	done := make(chan error, 1)
	go func() { done <- collector(end) }()
	select {
	case err := <-done:
		return err
	case <-broken.Done():
		return errConnectionLost
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *collectorEnd) hello() error {
	return c.out.WriteJSON(wire.KindHello, wire.Hello{
		Version: wire.Version, Collector: "v1.2.3", Kernel: "Linux 6.18.4", Arch: "amd64", CPUs: 4, TimeNS: c.now(),
	})
}

func (c *collectorEnd) ready() error {
	return c.out.WriteJSON(wire.KindReady, wire.Ready{SnapLen: 128, Interfaces: []wire.Interface{
		{ID: 0, Target: 7, Name: "eth0", LinkType: wire.LinkTypeEthernet, Hook: "tcx"},
	}})
}

func (c *collectorEnd) now() int64 { return time.Now().Add(c.ahead).UnixNano() }

// ignore reads what comes until nothing does.
func (c *collectorEnd) ignore() error {
	for {
		if _, _, err := c.frames.ReadFrame(nil); err != nil {
			return err
		}
	}
}

// next returns the next frame that is not a ping, which it answers, nor the
// spec, which it keeps.
func (c *collectorEnd) next() (wire.Kind, error) {
	for {
		kind, payload, err := c.frames.ReadFrame(nil)
		if err != nil {
			return 0, err
		}
		switch kind {
		case wire.KindSpec:
			if err := json.Unmarshal(payload, &c.spec); err != nil {
				return 0, err
			}
			if err := c.spec.Validate(); err != nil {
				return 0, err
			}
			err := c.ready()
			if err == nil && c.onReady != nil {
				err = c.onReady()
			}
			if err != nil {
				return 0, err
			}
		case wire.KindPing:
			c.pings = append(c.pings, time.Now())
			var ping wire.Ping
			if err := json.Unmarshal(payload, &ping); err != nil {
				return 0, err
			}
			if err := c.out.WriteJSON(wire.KindPong, wire.Pong{Seq: ping.Seq, TimeNS: c.now()}); err != nil {
				return 0, err
			}
		default:
			return kind, nil
		}
	}
}

func (c *collectorEnd) packets(blocks string) error {
	payload := make([]byte, wire.PacketsHeaderLen, wire.PacketsHeaderLen+len(blocks))
	wire.PacketsHeader{CompleteNS: c.now()}.Put(payload)
	return c.out.WriteFrame(wire.KindPackets, append(payload, blocks...))
}

// obey is the collector on a good day: two frames of packets after go, and the
// end after stop.
func obey(c *collectorEnd) error {
	if err := c.hello(); err != nil {
		return err
	}
	return c.serve()
}

// serve is obey after the hello.
func (c *collectorEnd) serve() error {
	for {
		kind, err := c.next()
		if err != nil {
			return err
		}
		switch kind {
		case wire.KindGo:
			err = errors.Join(c.packets("first"), c.out.WriteFrame(wire.KindBurst, make([]byte, 64)), c.packets("second"))
		case wire.KindStop:
			return c.out.WriteEnd(wire.End{Reason: wire.EndStop})
		}
		if err != nil {
			return err
		}
	}
}

// watchInterface shortens the signatures of watch reactors.
type watchInterface = watch.Interface

func exitError(code int) error {
	return exec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
}
