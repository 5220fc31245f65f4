package session

import (
	"encoding/json"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// A keeper may tell its status before it answers the first ping.
func TestAttachToAKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.program = "attach"
		c.collector = func(e *collectorEnd) error {
			kind, _, err := e.frames.ReadFrame(nil)
			if err != nil || kind != wire.KindOpen {
				t.Errorf("begins with frame %d, %v", kind, err)
			}
			if err := errors.Join(e.hello(), e.out.WriteJSON(wire.KindStatus, wire.Status{Phase: wire.PhaseCapturing})); err != nil {
				return err
			}
			time.Sleep(time.Second)
			if err := e.out.WriteEnd(wire.End{Reason: wire.EndDetached}); err != nil {
				return err
			}
			return e.ignore()
		}
		run := Join(t.Context(), c.Clientset, c, testNamespace, testRunID)
		session, err := run.Attach(t.Context(), "n1", "keeper")
		if err != nil {
			t.Fatal(err)
		}
		kind, payload, err := session.ReadFrame(nil)
		var status wire.Status
		if err != nil || kind != wire.KindStatus || json.Unmarshal(payload, &status) != nil || status.Phase != wire.PhaseCapturing {
			t.Errorf("frame %d %s, %v", kind, payload, err)
		}
		if _, _, err := session.ReadFrame(nil); err != nil {
			t.Errorf("end frame: %v", err)
		}
		if _, _, err := session.ReadFrame(nil); !errors.Is(err, io.EOF) {
			t.Errorf("ended with %v", err)
		}
		if err := run.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := run.Close(t.Context()); err != nil {
			t.Error(err)
		}
		for _, action := range c.Actions() {
			if action.GetVerb() == "delete" || action.GetVerb() == "create" {
				t.Errorf("%s %s", action.GetVerb(), action.GetResource().Resource)
			}
		}
		_ = session.Close()
	})
}

// Release leaves everything to its time to live.
func TestReleasedRunDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		run := c.open(t.Context())
		c.start(run, "n1")
		c.finish(run)
		if err := run.Release(t.Context(), 2*time.Hour); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // renewals that go on would make it short again
		if err := run.Close(t.Context()); err != nil {
			t.Error(err)
		}
		job, err := c.BatchV1().Jobs(testNamespace).Get(t.Context(), leaseName(run.ID(), ""), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if ttl := *job.Spec.TTLSecondsAfterFinished; ttl < 7200 || ttl > 7300 {
			t.Errorf("time to live %d s", ttl)
		}
		pods, err := c.CoreV1().Pods(testNamespace).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(pods.Items) != 1 || pods.Items[0].Status.Phase == corev1.PodFailed {
			t.Errorf("pods %v, %v", pods.Items, err)
		}
	})
}

// Two captures of one name: the API server decides.
func TestNameOfACaptureIsUnique(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		cfg := c.config()
		cfg.Capture = "night"
		first, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		second, err := Open(t.Context(), cfg) // before the first has begun
		if err != nil {
			t.Fatal(err)
		}
		if _, err := first.Start(t.Context(), "n1", testSpec()); err != nil {
			t.Fatal(err)
		}
		if _, err := second.Start(t.Context(), "n1", testSpec()); err == nil {
			t.Error("a second capture of the same name has begun")
		}
		if err := second.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := Open(t.Context(), cfg); err == nil {
			t.Error("a third was not refused")
		}
		if _, err := c.BatchV1().Jobs(testNamespace).Get(t.Context(), leaseName("", "night"), metav1.GetOptions{}); err != nil {
			t.Errorf("the first one's lease: %v", err)
		}
		if err := first.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
