package clusterinfo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func named(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, CreationTimestamp: metav1.Time{Time: now.Add(-24 * time.Hour)},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		Annotations:   map[string]string{corev1.LastAppliedConfigAnnotation: "hunter2", "kept": "yes"},
	}
}

func event(name string, age time.Duration) *corev1.Event {
	return &corev1.Event{
		ObjectMeta: named("shop", name), Reason: "Unhealthy", Message: "probe printed hunter3",
		LastTimestamp: metav1.Time{Time: now.Add(-age)},
	}
}

// pod has a secret in every place that is cleaned.
func pod() *corev1.Pod {
	handler := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{HTTPHeaders: []corev1.HTTPHeader{{Name: "Authorization", Value: "hunter2"}}}}
	env := []corev1.EnvVar{
		{Name: "PASSWORD", Value: "hunter2"}, {Name: "EMPTY"},
		{Name: "FROM", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "key-of-it"}}},
	}
	container := corev1.Container{
		Name: "c", Image: "img", Env: env, Command: []string{"run", "--token=hunter3"}, Args: []string{"hunter3"},
		LivenessProbe: &corev1.Probe{ProbeHandler: handler},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{
			Command: []string{"check", "hunter3"},
		}}},
		Lifecycle: &corev1.Lifecycle{
			PreStop:   &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"hunter3"}}},
			PostStart: &corev1.LifecycleHandler{HTTPGet: handler.HTTPGet},
		},
	}
	return &corev1.Pod{
		ObjectMeta: named("shop", "web"),
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{container}, InitContainers: []corev1.Container{*container.DeepCopy()},
			EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon(*container.DeepCopy())}},
		},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: "line\n\nhunter3", Reason: "Error"}},
		}}},
	}
}

func world() *fake.Clientset {
	return fake.NewClientset(
		pod(),
		&corev1.Pod{ObjectMeta: named("pay", "api")},
		&corev1.Pod{ObjectMeta: named("kube-system", "other")},
		&corev1.Service{ObjectMeta: named("shop", "svc")},
		&discoveryv1.EndpointSlice{ObjectMeta: named("shop", "svc-abc")},
		&networkingv1.NetworkPolicy{ObjectMeta: named("pay", "deny")},
		event("new", time.Minute), event("old", 2*time.Hour),
		&corev1.Node{ObjectMeta: named("", "n1")},
		&corev1.Node{ObjectMeta: named("", "n2")},
	)
}

var scope = Scope{Namespaces: []string{"shop", "pay"}, Nodes: []string{"n1"}}

// parse reads a document as YAML into its objects.
func parse(t *testing.T, d Document) []unstructured.Unstructured {
	t.Helper()
	var list unstructured.UnstructuredList
	if err := yaml.Unmarshal(d.YAML, &list.Object); err != nil {
		t.Fatalf("%s: %v\n%s", d.Name, err, d.YAML)
	}
	if list.GetKind() != "List" || list.GetAPIVersion() != "v1" {
		t.Errorf("%s is a %s of %s", d.Name, list.GetKind(), list.GetAPIVersion())
	}
	items, found, err := unstructured.NestedSlice(list.Object, "items")
	if err != nil || !found {
		t.Fatalf("%s: items: %v, %v", d.Name, found, err)
	}
	var objects []unstructured.Unstructured
	for _, item := range items {
		objects = append(objects, unstructured.Unstructured{Object: item.(map[string]any)})
	}
	return objects
}

func TestCollect(t *testing.T) {
	documents, errs := Collect(context.Background(), world(), scope, Options{Now: now})
	if len(errs) > 0 {
		t.Error(errs)
	}
	want := []struct {
		name    string
		objects []string
	}{
		{"pods.yaml", []string{"v1 Pod shop/web", "v1 Pod pay/api"}},
		{"services.yaml", []string{"v1 Service shop/svc"}},
		{"endpointslices.yaml", []string{"discovery.k8s.io/v1 EndpointSlice shop/svc-abc"}},
		{"networkpolicies.yaml", []string{"networking.k8s.io/v1 NetworkPolicy pay/deny"}},
		{"events.yaml", []string{"v1 Event shop/new"}},
		{"nodes.yaml", []string{"v1 Node /n1"}},
	}
	if len(documents) != len(want) {
		t.Fatalf("%d documents, want %d", len(documents), len(want))
	}
	for i, document := range documents {
		var got []string
		for _, object := range parse(t, document) {
			got = append(got, fmt.Sprintf("%s %s %s/%s", object.GetAPIVersion(), object.GetKind(), object.GetNamespace(), object.GetName()))
			if object.GetManagedFields() != nil || len(object.GetAnnotations()) != 1 {
				t.Errorf("%s has managed fields or annotations %v", object.GetName(), object.GetAnnotations())
			}
		}
		if document.Name != want[i].name || !slices.Equal(got, want[i].objects) {
			t.Errorf("%s: %q, want %s: %q", document.Name, got, want[i].name, want[i].objects)
		}
	}
}

func TestSecretsAreRemoved(t *testing.T) {
	for _, headersOnly := range []bool{false, true} {
		documents, _ := Collect(context.Background(), world(), scope, Options{Now: now, HeadersOnly: headersOnly})
		all := ""
		for _, document := range documents {
			all += string(document.YAML)
		}
		if strings.Contains(all, "hunter2") {
			t.Errorf("headers only %v: a value is left:\n%s", headersOnly, all)
		}
		if got := strings.Contains(all, "hunter3"); got == headersOnly {
			t.Errorf("headers only %v: what programs were told or have said is there: %v", headersOnly, got)
		}
		for _, kept := range []string{"name: PASSWORD", "value: '[removed]'", "name: EMPTY\n", "key: key-of-it", "name: Authorization", "image: img", "reason: Error"} {
			if !strings.Contains(all, kept) {
				t.Errorf("headers only %v: no %q", headersOnly, kept)
			}
		}
		// In each of three kinds of containers.
		if got := strings.Count(all, "name: PASSWORD"); got != 3 {
			t.Errorf("%d variables, want 3", got)
		}
	}
}

func TestForbiddenResourcesCostThemselvesOnly(t *testing.T) {
	client := world()
	client.PrependReactor("list", "endpointslices", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "endpointslices"}, "", errors.New("no"))
	})
	client.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return action.GetNamespace() == "pay", nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("no"))
	})
	scope := Scope{Namespaces: scope.Namespaces, Nodes: []string{"gone", "n1"}}
	documents, errs := Collect(context.Background(), client, scope, Options{Now: now})
	if len(documents) != 5 || documents[0].Name != "pods.yaml" || len(parse(t, documents[0])) != 1 || len(parse(t, documents[4])) != 1 {
		t.Errorf("%d documents: %s", len(documents), documents[0].YAML)
	}
	var texts []string
	for _, err := range errs {
		text, _, _ := strings.Cut(err.Error(), ": ")
		texts = append(texts, text)
	}
	if want := []string{"list pods in namespace pay", "list endpointslices in namespace shop", "list endpointslices in namespace pay", "get nodes/gone"}; !slices.Equal(texts, want) {
		t.Fatalf("errors %q, want %q", texts, want)
	}
	if got, want := hint.Of(errs[0]), "kubectl auth can-i list pods -n pay"; !strings.HasSuffix(got, want) {
		t.Errorf("hint %q, want %q", got, want)
	}
	if !apierrors.IsNotFound(errs[3]) {
		t.Errorf("the cause is hidden: %v", errs[3])
	}
}

// TestLimit has so many services that not all fit.
func TestLimit(t *testing.T) {
	client := fake.NewClientset()
	const most = 400
	for i := range most {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("svc-%03d", i), Annotations: map[string]string{"text": strings.Repeat("line\n\n  \n  more\n", 3)}}}
		if err := client.Tracker().Add(service); err != nil {
			t.Fatal(err)
		}
	}
	const limit = 20_000
	for _, o := range []Options{{Now: now, MaxBytes: limit}, {Now: now}} {
		documents, errs := Collect(context.Background(), client, Scope{Namespaces: []string{"shop"}}, o)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		services := documents[1]
		objects := parse(t, services)
		lines := strings.Split(strings.TrimSpace(string(services.YAML)), "\n")
		said := lines[len(lines)-1]
		if o.MaxBytes == 0 {
			if len(objects) != most || strings.HasPrefix(said, "#") {
				t.Errorf("%d services, and at the end %q", len(objects), said)
			}
			continue
		}
		if want := fmt.Sprintf("# cut here, after %d of the objects: the limit of 20 KiB is reached", len(objects)); said != want || len(objects) < 10 {
			t.Errorf("at the end %q, want %q", said, want)
		}
		if len(services.YAML) > limit+200 {
			t.Errorf("%d bytes", len(services.YAML))
		}
		if got, want := objects[0].GetAnnotations()["text"], strings.Repeat("line\n\n  \n  more\n", 3); got != want {
			t.Errorf("text is %q, want %q", got, want)
		}
	}
}

// TestPages has a list that expires between its pages, once.
func TestPages(t *testing.T) {
	client := fake.NewClientset()
	var asked []string
	client.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		options := action.(clienttesting.ListActionImpl).ListOptions
		asked = append(asked, fmt.Sprint(options.Limit, options.Continue))
		page := func(name, next string) *corev1.PodList {
			return &corev1.PodList{ListMeta: metav1.ListMeta{Continue: next}, Items: []corev1.Pod{{ObjectMeta: named("shop", name)}}}
		}
		switch {
		case options.Continue == "":
			return true, page("a", "second"), nil
		case len(asked) == 2:
			return true, nil, apierrors.NewResourceExpired("too old")
		}
		return true, page("b", ""), nil
	})
	documents, errs := Collect(context.Background(), client, Scope{Namespaces: []string{"shop"}}, Options{Now: now})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	objects := parse(t, documents[0])
	if len(objects) != 2 || objects[0].GetName() != "a" || objects[1].GetName() != "b" {
		t.Errorf("%s", documents[0].YAML)
	}
	if want := []string{"500", "500second", "500", "500second"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

func TestEventTime(t *testing.T) {
	at := func(minutes int) metav1.Time { return metav1.Time{Time: now.Add(time.Duration(minutes) * time.Minute)} }
	for name, test := range map[string]struct {
		event corev1.Event
		want  int
	}{
		"created only": {corev1.Event{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(1)}}, 1},
		"last":         {corev1.Event{FirstTimestamp: at(1), LastTimestamp: at(3)}, 3},
		"new API":      {corev1.Event{EventTime: metav1.MicroTime(at(4))}, 4},
		"series":       {corev1.Event{EventTime: metav1.MicroTime(at(4)), Series: &corev1.EventSeries{LastObservedTime: metav1.MicroTime(at(9))}}, 9},
	} {
		if got := eventTime(&test.event); !got.Time.Equal(at(test.want).Time) {
			t.Errorf("%s: %s, want %s", name, got, at(test.want))
		}
	}
}

func TestEmptyScope(t *testing.T) {
	documents, errs := Collect(context.Background(), world(), Scope{}, Options{Now: now})
	if len(documents) != 0 || len(errs) != 0 {
		t.Errorf("%d documents, errors %v", len(documents), errs)
	}
	documents, errs = Collect(context.Background(), world(), Scope{Namespaces: []string{"nothing"}}, Options{Now: now})
	if len(documents) != 5 || len(errs) != 0 || len(parse(t, documents[0])) != 0 {
		t.Errorf("%d documents, errors %v", len(documents), errs)
	}
}
