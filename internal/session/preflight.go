package session

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/rights"
)

const enforceLabel = "pod-security.kubernetes.io/enforce"

// preflight finds out, without creating anything, whether a run's objects can
// be created: whether the user may, and whether the namespace takes the pod.
func preflight(ctx context.Context, cfg Config, runID string) error {
	_, err := examine(ctx, cfg, runID)
	return err
}

// examine is preflight that also says which rights are missing.
func examine(ctx context.Context, cfg Config, runID string) (missing []rights.Right, err error) {
	var admission, taken error
	var checks sync.WaitGroup
	checks.Go(func() { taken = checkName(ctx, cfg) })
	checks.Go(func() { missing = rights.Missing(ctx, cfg.Client, cfg.Namespace, runRights()) })
	checks.Go(func() { admission = tryPod(ctx, cfg, runID) })
	checks.Wait()
	switch {
	case len(missing) > 0:
		return missing, rightsError(ctx, cfg, missing)
	case taken != nil:
		return nil, taken
	}
	return nil, admission
}

// checkName reports a capture of the same name. Only creating the lease knows for
// certain.
func checkName(ctx context.Context, cfg Config) error {
	if cfg.Capture == "" {
		return nil
	}
	_, err := cfg.Client.BatchV1().Jobs(cfg.Namespace).Get(ctx, leaseName("", cfg.Capture), metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return errTaken(cfg.Namespace, cfg.Capture)
}

// runRights are those of every run in the collector namespace.
func runRights() []rights.Right { return rights.Of(rights.Needed(), rights.Collectors) }

func rightsError(ctx context.Context, cfg Config, missing []rights.Right) error {
	err := fmt.Errorf("missing rights in namespace %s: %s", cfg.Namespace, rights.Names(missing))
	// One role of all verbs on all resources is a little more than what is
	// needed, and fits on a line; see doctor for the smallest.
	var verbs, resources []string
	for _, r := range runRights() {
		if !slices.Contains(verbs, r.Verb) {
			verbs = append(verbs, r.Verb)
		}
		if !slices.Contains(resources, r.Object()) {
			resources = append(resources, r.Object())
		}
	}
	return hint.Wrap(err, fmt.Sprintf("somebody who may can grant them (as YAML, with those to find targets: kubectl retina doctor --print-rbac): "+
		"kubectl create role %[1]s -n %[2]s --verb=%[4]s --resource=%[5]s && "+
		"kubectl create rolebinding %[1]s -n %[2]s --role=%[1]s --user=%[3]s",
		ProgramName, cfg.Namespace, userName(ctx, cfg.Client), strings.Join(verbs, ","), strings.Join(resources, ",")))
}

// userName returns who the API server takes the user for, or a placeholder.
func userName(ctx context.Context, client kubernetes.Interface) string {
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || review.Status.UserInfo.Username == "" {
		return "USER"
	}
	return oneLine(review.Status.UserInfo.Username)
}

// tryPod creates a collector pod without persisting it, which runs everything
// that may refuse it: Pod Security, quota, limit ranges and webhooks.
func tryPod(ctx context.Context, cfg Config, runID string) error {
	// The name of no node: the pod is not bound to anything, and whether a node
	// exists is not checked when a pod is created.
	pod := collectorPod("preflight", cfg.podOptions(runID, podName(runID, 0), nil))
	_, err := cfg.Client.CoreV1().Pods(cfg.Namespace).Create(ctx, pod, metav1.CreateOptions{
		DryRun:       []string{metav1.DryRunAll},
		FieldManager: ProgramName,
	})
	if dryRunUnsupported(err) {
		return tryLabel(ctx, cfg)
	}
	return refusal(cfg.Namespace, err)
}

// dryRunUnsupported reports an admission webhook that has side effects, and so
// is not called for a dry run.
func dryRunUnsupported(err error) bool {
	return apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run")
}

// tryLabel is what is left when the pod cannot be tried. It knows nothing of
// exemptions and of the cluster's default level.
func tryLabel(ctx context.Context, cfg Config) error {
	namespace, err := cfg.Client.CoreV1().Namespaces().Get(ctx, cfg.Namespace, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	level := namespace.Labels[enforceLabel]
	if slices.Contains([]string{"", "privileged"}, level) {
		return nil
	}
	return podSecurityError(cfg.Namespace, oneLine(level))
}

// refusal explains why the API server did not take a collector pod. Refusal of
// nil is nil.
func refusal(namespace string, err error) error {
	var status apierrors.APIStatus
	if err == nil || !errors.As(err, &status) {
		return err
	}
	message := oneLine(status.Status().Message)
	if level := podSecurityLevel(message); level != "" {
		return podSecurityError(namespace, level)
	}
	if apierrors.IsNotFound(err) && isAbout(status.Status(), "namespaces", namespace) {
		return hint.Wrap(fmt.Errorf("collector namespace %s does not exist", namespace),
			"create it, or name another one with --collector-namespace")
	}
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
		return hint.Wrap(fmt.Errorf("namespace %s does not take a collector pod: %s", namespace, message),
			"name another namespace with --collector-namespace")
	}
	return fmt.Errorf("create collector pod in namespace %s: %s", namespace, message)
}

func isAbout(status metav1.Status, resource, name string) bool {
	d := status.Details
	return d != nil && d.Name == name && (d.Kind == resource || d.Kind == "" || d.Kind == "namespace")
}

// podSecurityLevel takes the level out of Pod Security admission's message,
// as in `violates PodSecurity "restricted:latest": host namespaces (…)`.
func podSecurityLevel(message string) string {
	if m := regexp.MustCompile(`violates PodSecurity "([a-z]+)(:[^"]*)?"`).FindStringSubmatch(message); m != nil {
		return m[1]
	}
	return ""
}

func podSecurityError(namespace, level string) error {
	err := fmt.Errorf("namespace %s enforces Pod Security level %q, and a collector is privileged", namespace, level)
	return hint.Wrap(err, fmt.Sprintf("kubectl label --overwrite ns %s %s=privileged, or name another namespace with --collector-namespace",
		namespace, enforceLabel))
}
