package session

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/rights"
)

var podsResource = schema.GroupResource{Resource: "pods"}

func forbidden(message string) error {
	return apierrors.NewForbidden(podsResource, "retina-x-0", errors.New(message))
}

// onDryRun answers the trial creation.
func (c *cluster) onDryRun(err error) {
	c.onCreatePod(true, err)
}

func (c *cluster) onCreatePod(dryRun bool, err error) {
	c.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create := action.(clienttesting.CreateActionImpl)
		if slices.Contains(create.CreateOptions.DryRun, metav1.DryRunAll) != dryRun {
			return false, nil, nil
		}
		return true, nil, err
	})
}

func wantError(t *testing.T, err error, text, hinted string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", text)
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("error %q, want %q in it", err, text)
	}
	if strings.ContainsAny(err.Error(), "\n\t") {
		t.Errorf("error %q is more than one line", err)
	}
	if got := hint.Of(err); hinted == "" && got != "" || !strings.Contains(got, hinted) {
		t.Errorf("hint %q, want %q in it", got, hinted)
	}
}

func TestPreflightAdmission(t *testing.T) {
	noDryRun := apierrors.NewBadRequest(`admission webhook "w.example" does not support dry run`)
	podSecurity := forbidden(`violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true), privileged (container "collector" must not set it)`)
	for _, test := range []struct {
		name         string
		answer       error
		label        string
		error, hint  string
		successfully bool
	}{
		{name: "admitted", successfully: true},
		{name: "Pod Security", answer: podSecurity,
			error: `namespace netops enforces Pod Security level "restricted", and a collector is privileged`,
			hint:  "kubectl label --overwrite ns netops pod-security.kubernetes.io/enforce=privileged"},
		{name: "quota", answer: forbidden("exceeded quota: pods, requested: pods=1, used: pods=3, limited: pods=3"),
			error: "exceeded quota: pods", hint: "--collector-namespace"},
		{name: "webhook without dry run", answer: noDryRun, successfully: true},
		{name: "webhook without dry run, label allows", answer: noDryRun, label: "privileged", successfully: true},
		{name: "webhook without dry run, label refuses", answer: noDryRun, label: "baseline",
			error: `namespace netops enforces Pod Security level "baseline"`, hint: "kubectl label"},
		{name: "no namespace", answer: apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, testNamespace),
			error: "collector namespace netops does not exist", hint: "--collector-namespace"},
		{name: "webhook refuses", answer: forbidden("no\nprivileged pods here"),
			error: "no privileged pods here", hint: "--collector-namespace"},
		{name: "who are you", answer: apierrors.NewUnauthorized("Unauthorized"), error: "Unauthorized"},
		{name: "no connection", answer: errors.New("dial tcp 10.0.0.1:6443: connect: connection refused"), error: "connection refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				if test.label != "" {
					namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testNamespace, Labels: map[string]string{enforceLabel: test.label}}}
					if err := c.Tracker().Add(namespace); err != nil {
						t.Fatal(err)
					}
				}
				if test.answer != nil {
					c.onDryRun(test.answer)
				}
				run, err := Open(t.Context(), c.config())
				c.wantNothingLeft()
				if !test.successfully {
					wantError(t, err, test.error, test.hint)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				c.close(run)
			})
		})
	}
}

// onReview answers access reviews: with an error, or refusing these rights.
func (c *cluster) onReview(err error, refused ...string) {
	c.PrependReactor("create", "selfsubjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if err != nil {
			return true, nil, err
		}
		review := action.(clienttesting.CreateActionImpl).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		a := review.Spec.ResourceAttributes
		asked := rights.Right{Verb: a.Verb, Group: a.Group, Resource: a.Resource, Subresource: a.Subresource}
		review.Status.Allowed = a.Namespace == testNamespace && !slices.Contains(refused, asked.String())
		return true, review, nil
	})
}

func TestPreflightRights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.onReview(nil, "create pods/exec", "patch jobs.batch")
		c.PrependReactor("create", "selfsubjectreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
			review := &authenticationv1.SelfSubjectReview{}
			review.Status.UserInfo.Username = "ann"
			return true, review, nil
		})
		_, err := Open(t.Context(), c.config())
		wantError(t, err, "missing rights in namespace netops: create pods/exec, patch jobs.batch",
			"kubectl create role kubectl-retina -n netops --verb=create,list,watch,delete,patch --resource=pods,pods/exec,jobs.batch && "+
				"kubectl create rolebinding kubectl-retina -n netops --role=kubectl-retina --user=ann")
		c.wantNothingLeft()
	})
}

func TestPreflightRightsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.onReview(errors.New("the server could not find the requested resource"))
		run, err := Open(t.Context(), c.config())
		if err != nil {
			t.Fatal(err)
		}
		c.close(run)
	})
}

func TestConfig(t *testing.T) {
	c := newCluster(t)
	for name, change := range map[string]func(*Config){
		"no client":    func(c *Config) { c.Client = nil },
		"no executor":  func(c *Config) { c.Executor = nil },
		"no namespace": func(c *Config) { c.Namespace = "" },
		"no image":     func(c *Config) { c.Image = "" },
		"no end":       func(c *Config) { c.MaxRun = 0 },
		"no chance":    func(c *Config) { c.Rand = strings.NewReader("") },
	} {
		cfg := c.config()
		change(&cfg)
		if _, err := Open(context.Background(), cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		add := func(name, run string, phase corev1.PodPhase, labels map[string]string) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: testNamespace, UID: "u", Labels: labels}}
			if labels == nil {
				pod.Labels = objectLabels(run, "", ComponentCollector)
			}
			pod.Status.Phase = phase
			if err := c.Tracker().Add(pod); err != nil {
				t.Fatal(err)
			}
		}
		add("failed", "gone", corev1.PodFailed, nil)
		add("succeeded", "gone", corev1.PodSucceeded, nil)
		add("running", "gone", corev1.PodRunning, nil)
		add("leased", "alive", corev1.PodFailed, nil)
		add("theirs", "gone", corev1.PodFailed, map[string]string{"app": "web"})
		if err := c.Tracker().Add(leaseJob("alive", Config{Namespace: testNamespace, Image: "i"})); err != nil {
			t.Fatal(err)
		}
		if err := sweep(t.Context(), c.Clientset, testNamespace); err != nil {
			t.Fatal(err)
		}
		want := []string{"pod leased", "pod running", "pod theirs", "job retina-alive"}
		if got := c.left(); !slices.Equal(got, want) {
			t.Errorf("after the sweep there are %q, want %q", got, want)
		}
	})
}
