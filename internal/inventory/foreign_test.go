package inventory

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Whoever installs this program may label their own objects with its name.
func TestWhatOnlyHasOurNameIsNotOurs(t *testing.T) {
	labels := map[string]string{labelName: programName}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "ci-runner", Namespace: "netops", Labels: labels}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "sas", Namespace: "netops", Labels: labels}}
	objects, warning, err := Objects(t.Context(), world(pod, secret), "netops", time.Now())
	if err != nil || warning != "" || len(objects) != 0 {
		t.Errorf("%v, %q, %v", objects, warning, err)
	}
}
