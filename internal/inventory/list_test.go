package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func list(t *testing.T, client *fake.Clientset, o Options) *CaptureList {
	t.Helper()
	l, err := List(t.Context(), client, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestStatusOfOneNode(t *testing.T) {
	failing := corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "the node was low\non disk"}
	tests := []struct {
		name   string
		state  corev1.ContainerState
		change func(*corev1.Pod)
		says   *wire.Status // what a collector that runs answers
		want   string
	}{
		{name: "pending", state: corev1.ContainerState{}, want: "Starting"},
		{name: "creating", state: waits("ContainerCreating"), want: "Starting"},
		{name: "no image", state: waits("ImagePullBackOff"), want: "Starting: ImagePullBackOff"},
		{name: "silent", state: runs(), want: "Running: collector cannot be asked: node n1: no answer[31m"},
		{name: "ready", state: runs(), says: &wire.Status{Phase: wire.PhaseReady}, want: "Starting"},
		{name: "capturing", state: runs(), says: &wire.Status{Phase: wire.PhaseCapturing}, want: "Capturing"},
		{name: "finishing", state: runs(), says: &wire.Status{Phase: wire.PhaseFinishing}, want: "Uploading"},
		{name: "storing", state: runs(), says: &wire.Status{Phase: wire.PhaseStoring}, want: "Uploading"},
		{name: "kept", state: runs(), says: &wire.Status{Phase: wire.PhaseKept}, want: "Kept"},
		{
			name: "kept after a failure", state: runs(),
			says: &wire.Status{Phase: wire.PhaseKept, Stores: []wire.StoreStatus{{Where: "s3 b", Done: true}, {Where: "blob u", Error: "403 AuthenticationFailed"}}},
			want: "Kept: not stored at blob u: 403 AuthenticationFailed",
		},
		{name: "done", state: lastWord(t, 0, wire.Status{Phase: wire.PhaseDone}), want: "Done"},
		{name: "failed", state: lastWord(t, 1, wire.Status{Phase: wire.PhaseFailed, Error: "no\nBTF"}), want: "Failed: no; BTF"},
		{name: "killed while it kept", state: lastWord(t, 137, wire.Status{Phase: wire.PhaseKept}), want: "Failed: Completed"},
		{name: "no word", state: ended(0, "Completed", ""), want: "Done"},
		{name: "out of memory", state: ended(137, "OOMKilled", ""), want: "Failed: OOMKilled"},
		{name: "a log for a word", state: ended(1, "Error", "level=INFO msg=x\nretina-collector: boom\x1b[2J\n"), want: "Failed: exit code 1: retina-collector: boom[2J"},
		{name: "evicted", state: ended(137, "Error", ""), change: func(p *corev1.Pod) { p.Status.Reason, p.Status.Message = failing.Reason, failing.Message }, want: "Failed: Evicted: the node was low; on disk"},
		{name: "never started", change: func(p *corev1.Pod) { p.Status = failing }, want: "Failed: Evicted: the node was low; on disk"},
		{name: "being deleted", state: runs(), change: func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) }, want: "Ending"},
		{name: "a phase of the future", state: runs(), says: &wire.Status{Phase: "dreaming"}, want: "Running"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pod := collector("r1", "web", "n1", test.state)
			if test.change != nil {
				test.change(pod)
			}
			prober := answers{}
			if test.says != nil {
				prober["n1"] = *test.says
			}
			l := list(t, world(lease("r1", "web", ModeDetached, time.Hour), pod), Options{Namespace: "netops", Prober: prober})
			if got := l.Items[0].StatusText(); got != test.want {
				t.Errorf("status %q, want %q", got, test.want)
			}
		})
	}
}

func TestStatusOfSeveralNodes(t *testing.T) {
	done, failed := wire.Status{Phase: wire.PhaseDone}, wire.Status{Phase: wire.PhaseFailed, Error: "disk full"}
	tests := []struct {
		want   string
		states map[string]corev1.ContainerState
		says   answers
	}{
		{"Done", map[string]corev1.ContainerState{"n1": lastWord(t, 0, done), "n2": lastWord(t, 0, done)}, nil},
		{"Failed: node n2: disk full", map[string]corev1.ContainerState{"n1": lastWord(t, 0, done), "n2": lastWord(t, 1, failed)}, nil},
		{"Failed: node n1: disk full (and 1 more)", map[string]corev1.ContainerState{"n1": lastWord(t, 1, failed), "n2": lastWord(t, 1, failed)}, nil},
		{"Capturing: failed on 1 of 2 nodes", map[string]corev1.ContainerState{"n1": runs(), "n2": lastWord(t, 1, failed)}, answers{"n1": {Phase: wire.PhaseCapturing}}},
		{"Capturing", map[string]corev1.ContainerState{"n1": runs(), "n2": waits("")}, answers{"n1": {Phase: wire.PhaseCapturing}}},
		{"Uploading", map[string]corev1.ContainerState{"n1": runs(), "n2": runs()}, answers{"n1": {Phase: wire.PhaseStoring}, "n2": {Phase: wire.PhaseKept}}},
		{"Failed: its collectors are gone", nil, nil},
	}
	for _, test := range tests {
		objects := []runtime.Object{lease("r1", "web", ModeDetached, time.Hour)}
		for node, state := range test.states {
			objects = append(objects, collector("r1", "web", node, state))
		}
		c := &list(t, world(objects...), Options{Prober: test.says}).Items[0]
		if got := c.StatusText(); got != test.want {
			t.Errorf("status %q, want %q", got, test.want)
		}
	}
}

func TestWhatACaptureTells(t *testing.T) {
	job := lease("r1", "web", ModeDetached, time.Hour)
	job.Annotations[AnnotationTargets], job.Annotations[AnnotationDuration] = "deployment shop/web", "2m"
	job.Annotations[AnnotationDestinations] = "blob https://a/c, host path /var/log"
	keptUntil := began().Add(30 * time.Minute)
	n1 := wire.Status{
		Phase: wire.PhaseKept, Archive: "web-n1-20261122T160000Z", Packets: 5, Bytes: 50, Lost: 1, StagedBytes: 70, KeptUntilNS: keptUntil.UnixNano(),
		Stores: []wire.StoreStatus{{Where: "blob https://a/c", Name: "web-n1.tar.gz", Error: "403"}},
	}
	n2 := wire.Status{
		Phase: wire.PhaseDone, Archive: "web-n2-20261122T160000Z", Packets: 7, Bytes: 60, StagedBytes: 90, ArchiveBytes: 30, Interfaces: []wire.InterfaceStats{{}},
		Stores: []wire.StoreStatus{{Where: "blob https://a/c", Name: "web-n2.tar.gz", Bytes: 30, SHA256: strings.Repeat("a", 64), Done: true}},
	}
	pod := collector("r1", "web", "n1", runs())
	pod.Spec.Volumes = []corev1.Volume{
		{Name: pvcVolume, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "captures"}}},
		{Name: hostVolume, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}}},
	}
	client := world(job, pod, collector("r1", "web", "n2", lastWord(t, 0, n2)))
	c := &list(t, client, Options{Prober: answers{"n1": n1}}).Items[0]
	if c.Pods != 4 || *c.Counts != (Counts{Packets: 12, Bytes: 110, Lost: 1}) || c.Bytes != 100 || c.Targets != "deployment shop/web" || c.Duration != "2m" {
		t.Errorf("capture %+v, counts %+v", c, c.Counts)
	}
	if !c.ExpiresAt.Equal(began().Add(time.Hour)) || !c.KeptUntil.Equal(keptUntil) {
		t.Errorf("expires %s, kept until %s", c.ExpiresAt, c.KeptUntil)
	}
	if want := []string{"blob https://a/c", "host path /var/log"}; !slices.Equal(c.Destinations, want) {
		t.Errorf("destinations %q, want %q", c.Destinations, want)
	}
	if want := (&session.Storage{PVC: "captures", HostDir: "/var/log"}); !cmp.Equal(c.Nodes[0].Storage, want) || !c.Nodes[0].Attachable || c.Nodes[1].Attachable {
		t.Errorf("storage %+v, want %+v", c.Nodes[0].Storage, want)
	}
}

func TestWordsOfNodesAreHarmless(t *testing.T) {
	evil := wire.Status{
		Phase: wire.PhaseFailed, Archive: "../../x\x1b[2J", Error: "a\x1b[31m\nb", StagedBytes: -5, StartNS: -1, Warnings: []string{"w\r\x07"},
		Stores: slices.Repeat([]wire.StoreStatus{{Where: "blob\n\x1b[2J", SHA256: "<script>", Bytes: -7}}, 2*wire.MaxDestinations),
	}
	c := &list(t, world(lease("r1", "web", ModeStore, time.Hour), collector("r1", "web", "n1", lastWord(t, 1, evil))), Options{}).Items[0]
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(string(text), "\x1b\x07") || strings.Contains(string(text), `\u001b`) || strings.Contains(string(text), `\n`) {
		t.Errorf("printed %s", text)
	}
	n := c.Nodes[0]
	if n.Bytes != 0 || n.StartedAt != nil || len(n.Stores) != wire.MaxDestinations || n.Stores[0].SHA256 != "" || n.Stores[0].Bytes != 0 {
		t.Errorf("node %+v", n)
	}
}

func TestCapturesAreGroupedByRunAndSorted(t *testing.T) {
	stream := collector("r2", "api", "n1", runs())
	stream.Spec.Containers[0].Command = []string{"/retina-collector", "hold"}
	elsewhere := lease("r3", "aaa", ModeStream, time.Minute)
	elsewhere.Namespace = "shop"
	client := world(
		lease("r1", "web", ModeStore, 40*time.Second), collector("r1", "web", "n1", runs()), collector("r1", "web", "n2", runs()),
		lease("r2", "api", ModeStream, 40*time.Second), stream,
		collector("r0", "web", "n9", runs()),                                        // of an earlier run, whose lease is gone
		lease("r9", "", ModeStream, time.Minute), collector("r9", "", "n1", runs()), // a run that is no capture
		elsewhere,
	)
	l := list(t, client, Options{})
	var got []string
	for i := range l.Items {
		c := &l.Items[i]
		got = append(got, c.Namespace+"/"+c.Name+" "+c.Run+" "+string(c.Status)+" "+c.Mode)
		if c.ExpiresAt != nil {
			t.Errorf("%s has an end although its command renews it", c.Name)
		}
	}
	want := []string{"netops/api r2 Capturing stream", "netops/web r0 Ending store", "netops/web r1 Running store", "shop/aaa r3 Starting stream"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if c := l.Find("netops", "web"); c == nil || c.Run != "r1" {
		t.Errorf("found %+v", c)
	}
	if c := l.Find("shop", "web"); c != nil {
		t.Errorf("found %+v", c)
	}
	only := list(t, client, Options{Namespace: "netops", Names: []string{"api"}})
	if len(only.Items) != 1 || only.Items[0].Name != "api" {
		t.Errorf("named: %+v", only.Items)
	}
}

func TestEveryPageIsRead(t *testing.T) {
	client := world()
	pages := 0
	client.PrependReactor("list", "jobs", func(action clienttesting.Action) (bool, runtime.Object, error) {
		options := action.(clienttesting.ListActionImpl).GetListOptions()
		pages++
		page := jobList(lease("r1", "one", ModeDetached, time.Hour))
		switch options.Continue {
		case "":
			page.Continue = "more"
		case "more":
			page = jobList(lease("r2", "two", ModeDetached, time.Hour))
		}
		return true, page, nil
	})
	if l := list(t, client, Options{}); len(l.Items) != 2 || pages != 2 {
		t.Errorf("%d captures of %d pages", len(l.Items), pages)
	}
}

// A server that is not reached is one line, however many lists it was asked for.
func TestUnreachedServerIsToldOnce(t *testing.T) {
	client := world()
	client.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, &url.Error{Op: "Get", URL: "https://192.0.2.1/api", Err: errors.New("connection refused")}
	})
	_, err := List(t.Context(), client, Options{Namespace: "default"})
	if err == nil || strings.Count(err.Error(), "connection refused") != 1 {
		t.Errorf("List: %v", err)
	}
	_, _, err = Objects(t.Context(), client, "default", time.Now())
	if err == nil || strings.Count(err.Error(), "connection refused") != 1 {
		t.Errorf("Objects: %v", err)
	}
}

func TestForbiddenListsAreExplained(t *testing.T) {
	client := world()
	client.PrependReactor("list", "jobs", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "jobs"}, "", nil)
	})
	_, err := List(context.Background(), client, Options{})
	if err == nil || err.Error() != "you may not list jobs in all namespaces" || hint.Of(err) != "name one namespace with -n" {
		t.Errorf("%v (%s)", err, hint.Of(err))
	}
}

// What session makes is what this package looks for.
func TestNamesAreThoseOfSession(t *testing.T) {
	for file, labels := range map[string]map[string]string{
		"collector-pod.yaml": {labelName: programName, labelManagedBy: programName, labelComponent: componentCollector, labelRun: "abcde01234"},
		"lease-job.yaml":     {labelName: programName, labelManagedBy: programName, labelComponent: componentLease, labelRun: "abcde01234"},
	} {
		text, err := os.ReadFile("../session/testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		var object struct {
			Metadata metav1.ObjectMeta `json:"metadata"`
		}
		if err := yaml.Unmarshal(text, &object); err != nil {
			t.Fatal(err)
		}
		for key, want := range labels {
			if got := object.Metadata.Labels[key]; got != want {
				t.Errorf("%s: label %s is %q, want %q", file, key, got, want)
			}
		}
		if file == "collector-pod.yaml" && (object.Metadata.Annotations[annotationNode] == "" || !strings.Contains(string(text), "name: "+collectorContainer+"\n")) {
			t.Errorf("%s names no node, or no container %s", file, collectorContainer)
		}
	}
}

func TestNear(t *testing.T) {
	l := &CaptureList{}
	for _, name := range []string{"web-7k2xq", "web-9abcd", "api", "db", "web-7k2xr"} {
		l.Items = append(l.Items, Capture{Name: name})
	}
	for name, want := range map[string][]string{
		"web-7k2x": {"web-7k2xq", "web-7k2xr"}, "web": {"web-7k2xq", "web-7k2xr", "web-9abcd"}, "apj": {"api"}, "zzzzzz": nil,
	} {
		if got := l.Near(name); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
