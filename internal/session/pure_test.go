package session

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

const testRunID = "abcde01234"

func TestGolden(t *testing.T) {
	cfg := Config{
		Namespace:    testNamespace,
		Image:        "registry.example/retina-collector:v1",
		PullSecrets:  []string{"registry-key"},
		MaxRun:       time.Hour,
		StartTimeout: 2 * time.Minute,
	}
	storing := cfg
	storing.Capture, storing.Annotations = "night", map[string]string{"retina.sh/mode": "detached"}
	storing.Storage = &Storage{StagingBytes: 256 << 20, PVC: "captures", HostDir: "/var/log/retina/captures"}
	owner := &metav1.OwnerReference{
		APIVersion: "batch/v1", Kind: "Job", Name: leaseName(testRunID, ""), UID: "uid-of-lease",
		Controller: new(false), BlockOwnerDeletion: new(false),
	}
	for file, object := range map[string]any{
		"collector-pod.yaml": collectorPod("n1.example.net", cfg.podOptions(testRunID, podName(testRunID, 3), owner)),
		"lease-job.yaml":     leaseJob(testRunID, cfg),
		"keeper-pod.yaml":    collectorPod("n1.example.net", storing.podOptions(testRunID, podName(testRunID, 3), owner)),
		"capture-job.yaml":   leaseJob(testRunID, storing),
	} {
		got, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", file)
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (UPDATE_GOLDEN=1 accepts it):\n%s", path, diff)
		}
	}
}

// The golden file can be accepted by mistake; these are promises.
func TestCollectorPodKnowsNothing(t *testing.T) {
	cfg := Config{Namespace: testNamespace, Image: "i", MaxRun: time.Hour, StartTimeout: time.Minute}
	spec := collectorPod("n1", cfg.podOptions(testRunID, "p", nil)).Spec
	container := spec.Containers[0]
	switch {
	case *spec.AutomountServiceAccountToken:
		t.Error("the pod has a token")
	case len(spec.Volumes) > 0 || len(container.VolumeMounts) > 0:
		t.Error("the pod has volumes")
	case len(container.Env) > 0 || len(container.EnvFrom) > 0 || len(container.Args) > 0:
		t.Error("the pod knows more than its program")
	case !*container.SecurityContext.ReadOnlyRootFilesystem:
		t.Error("the pod can write to its root")
	case spec.PriorityClassName != "" || spec.Priority != nil:
		t.Error("the kubelet may preempt other pods for this one")
	case !container.Resources.Requests.Cpu().IsZero() || !container.Resources.Requests.Memory().IsZero():
		t.Error("a fully reserved node has no room for the pod")
	case len(container.Resources.Requests) != 2:
		t.Error("requests that are left out are set to the limits")
	}
}

func TestNames(t *testing.T) {
	id, err := newID(bytes.NewReader(bytes.Repeat([]byte{255, 252, 251, 0, 35}, idLength)))
	if err != nil {
		t.Fatal(err)
	}
	// 252 and above would favour the first letters and are drawn again.
	if want := "9a99a99a99"; id != want {
		t.Errorf("ID %q, want %q", id, want)
	}
	for _, name := range []string{leaseName(id, ""), podName(id, 0), podName(id, 99999)} {
		if errs := validation.IsDNS1123Label(name); len(errs) > 0 {
			t.Errorf("name %q: %v", name, errs)
		}
	}
	if _, err := newID(strings.NewReader("short")); !errors.Is(err, io.EOF) {
		t.Errorf("no randomness left: %v", err)
	}
}

func TestClockCorrections(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		name   string
		clocks []Clock
		want   []time.Duration
	}{
		{"none", nil, []time.Duration{}},
		{"one is never corrected", []Clock{{time.Hour, ms}}, []time.Duration{0}},
		{"agreement within the uncertainties", []Clock{{0, ms}, {2 * ms, ms}, {-2 * ms, ms}}, []time.Duration{0, 0, 0}},
		{"one is ahead", []Clock{{0, ms}, {time.Minute, ms}, {ms, ms}}, []time.Duration{0, -time.Minute + ms, 0}},
		{"one is behind", []Clock{{-time.Minute, ms}, {0, ms}, {0, ms}}, []time.Duration{time.Minute, 0, 0}},
		{"the command's clock is wrong", []Clock{{time.Hour, ms}, {time.Hour + ms, ms}}, []time.Duration{0, 0}},
		{"two that differ follow the slower", []Clock{{time.Second, ms}, {0, ms}}, []time.Duration{-time.Second, 0}},
		{"too uncertain to say", []Clock{{time.Second, time.Second}, {0, ms}}, []time.Duration{0, 0}},
		{"just certain", []Clock{{2*ms + 1, ms}, {0, ms}}, []time.Duration{-2*ms - 1, 0}},
	} {
		if diff := cmp.Diff(test.want, ClockCorrections(test.clocks)); diff != "" {
			t.Errorf("%s:\n%s", test.name, diff)
		}
	}
}

func TestClockEstimate(t *testing.T) {
	const ms = time.Millisecond
	start := time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)
	at := func(d time.Duration) int64 { return start.Add(d).UnixNano() }
	c := newClockEstimate()
	select {
	case <-c.measured:
		t.Error("a clock without a measurement")
	default:
	}
	slow, quick, lost := c.ping(start), c.ping(start.Add(ms)), c.ping(start.Add(2*ms))
	if n := c.pong(lost+1, 0, start); n != 0 {
		t.Error("an answer to nothing counts")
	}
	c.pong(slow, at(9*ms+time.Second), start.Add(10*ms)) // 10 ms there and back, answered late
	if got := c.clock(); got != (Clock{Offset: time.Second + 4*ms, Uncertainty: 5 * ms}) {
		t.Errorf("after a slow pong: %+v", got)
	}
	if n := c.pong(quick, at(2*ms+time.Second), start.Add(3*ms)); n != 2 {
		t.Errorf("%d pongs", n)
	}
	want := Clock{Offset: time.Second, Uncertainty: ms}
	if got := c.clock(); got != want {
		t.Errorf("after a quick pong: %+v, want %+v", got, want)
	}
	if n := c.pong(quick, at(time.Hour), start.Add(3*ms)); n != 2 {
		t.Error("the same answer counts twice")
	}
}

func TestTail(t *testing.T) {
	var tail tail
	for range 100 {
		_, _ = tail.Write(bytes.Repeat([]byte("x"), 100))
	}
	_, _ = tail.Write([]byte("panic: oh\n\tno\x1b[31m"))
	got := tail.String()
	if len(tail.bytes) != tailSize || !strings.HasSuffix(got, "xxx"+"panic: oh no[31m") {
		t.Errorf("tail of %d bytes, %q", len(tail.bytes), got[max(0, len(got)-40):])
	}
	_, _ = tail.Write(bytes.Repeat([]byte("y"), 3*tailSize))
	if got := tail.String(); got != strings.Repeat("y", tailSize) {
		t.Errorf("a long write leaves %d bytes", len(got))
	}
}

func FuzzOneLine(f *testing.F) {
	for _, seed := range []string{"", "plain", "two\nlines", "\x1b]0;title\a", "caf\xe9", "a  b\t c", "\u202eevil"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range oneLine(s) {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q leaves %q", s, r)
			}
		}
		if twice := oneLine(oneLine(s)); twice != oneLine(s) {
			t.Fatalf("%q: %q, then %q", s, oneLine(s), twice)
		}
	})
}

func TestCheckReady(t *testing.T) {
	good := wire.Interface{ID: 0, Target: 7, Name: "eth0", LinkType: wire.LinkTypeEthernet}
	for _, test := range []struct {
		name  string
		ready wire.Ready
		ok    bool
	}{
		{"good", wire.Ready{Interfaces: []wire.Interface{good}}, true},
		{"nothing attached", wire.Ready{Failed: []wire.TargetError{{Target: 7, Cause: "no netns"}}}, true},
		{"gap", wire.Ready{Interfaces: []wire.Interface{{ID: 1, Target: 7, LinkType: wire.LinkTypeEthernet}}}, false},
		{"other target", wire.Ready{Interfaces: []wire.Interface{{Target: 8, LinkType: wire.LinkTypeEthernet}}}, false},
		{"other failed target", wire.Ready{Failed: []wire.TargetError{{Target: 8}}}, false},
		{"link type", wire.Ready{Interfaces: []wire.Interface{{Target: 7, LinkType: 147}}}, false},
	} {
		if err := checkReady(&test.ready, testSpec()); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	dirty := wire.Ready{
		Interfaces: []wire.Interface{{Target: 7, Name: "eth0\x1b[2J", LinkType: wire.LinkTypeEthernet}},
		Warnings:   []string{"one\ntwo"},
	}
	if err := checkReady(&dirty, testSpec()); err != nil || dirty.Interfaces[0].Name != "eth0[2J" || dirty.Warnings[0] != "one two" {
		t.Errorf("texts of a node: %+v, %v", dirty, err)
	}
	metrics := wire.Spec{Metrics: &wire.MetricsSpec{Targets: []wire.Target{{ID: 7, PodUID: "u"}, {ID: 8, Node: true}}}}
	dirty = wire.Ready{
		Interfaces:  []wire.Interface{{Target: 8, LinkType: wire.LinkTypeRaw}},
		Failed:      []wire.TargetError{{Target: 7}},
		Unsupported: []wire.PluginError{{Plugin: "dns\n", Cause: "no\x1b[2J", Hint: "a\nb"}},
	}
	if err := checkReady(&dirty, metrics); err != nil || dirty.Unsupported[0] != (wire.PluginError{Plugin: "dns", Cause: "no[2J", Hint: "a b"}) {
		t.Errorf("ready of metrics: %+v, %v", dirty, err)
	}
	if podTargets(metrics) != 1 || !attaches(&metrics) || attaches(&wire.Spec{Files: &wire.FilesSpec{}}) || attaches(nil) {
		t.Error("a spec for metrics is not taken for one")
	}
}
