package session

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/google/go-cmp/cmp"
)

func TestPreviewIsWhatARunCreates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		spec := testSpec()
		cfg := c.config()
		cfg.Capture, cfg.Rand = "night", strings.NewReader(strings.Repeat("a", 100))
		cfg.Executor = nil
		p, err := NewPreview(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if p.Refused != nil || len(p.Rights) != len(runRights()) || p.Rights[4] != (Right{Text: "create pods/exec"}) {
			t.Errorf("refused: %v, rights %+v", p.Refused, p.Rights)
		}
		c.wantNothingLeft()

		cfg.Executor, cfg.Rand = c, strings.NewReader(strings.Repeat("a", 100))
		run, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close(run)
		if _, err := run.Start(t.Context(), "n1", spec); err != nil {
			t.Fatal(err)
		}
		pod := p.Pod(0, "n1", spec)
		created, err := c.CoreV1().Pods(testNamespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		created.UID, created.OwnerReferences, created.Status = "", nil, corev1.PodStatus{}
		if diff := cmp.Diff(created, pod); diff != "" {
			t.Error(diff)
		}
		if _, err := c.BatchV1().Jobs(testNamespace).Get(t.Context(), p.Lease.Name, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func TestPreviewOfWhatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.onReview(nil, "create pods/exec")
		p, err := NewPreview(t.Context(), c.config())
		if err != nil {
			t.Fatal(err)
		}
		if p.Refused == nil || !strings.Contains(p.Refused.Error(), "missing rights in namespace netops: create pods/exec") {
			t.Error(p.Refused)
		}
		for _, r := range p.Rights {
			if r.Missing != (r.Text == "create pods/exec") {
				t.Errorf("right %+v", r)
			}
		}
		c.PrependReactor("create", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("no")
		})
		c.onReview(nil)
		if p, err = NewPreview(t.Context(), c.config()); err != nil || p.Refused == nil || p.Refused.Error() != "no" {
			t.Errorf("%v, refused: %v", err, p.Refused)
		}
		c.wantNothingLeft()
	})
}
