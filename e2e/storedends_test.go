//go:build linux && !unit

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/storage"
)

// testStoringCommandEnds ends the command in every way while nodes store for it.
// One that was killed takes its capture along.
func (s *shop) testStoringCommandEnds(t *testing.T) {
	a, server := azurite(t), s3Server(t)
	container, bucket := a.Container(t, "ends"), server.Bucket(t, "ends")
	claim := storage.StartClaim(t, the.Cluster, the.client, collectorNamespace, "ends")
	hostPath := s.hostPath(t)
	slowBlobs, slowObjects := storage.StartProxy(t, the.Cluster, a.URL), storage.StartProxy(t, the.Cluster, server.URL)
	slowBlobs.Set(storage.Fault{BytesPerSecond: 20 << 10})
	slowObjects.Set(storage.Fault{BytesPerSecond: 20 << 10})
	sas := container.SAS(t, storage.SAS{Permissions: "cw"})
	slowly := join(blobFlags(slowBlobs.Through(sas)), s3Flags(slowObjects.URL, bucket.Name, server.Root), []string{"--duration", "5m", "--max-size", "10"})

	capturing := s.startStoring(t, join(blobFlags(sas), []string{"--name", "killed-capturing", "--duration", "5m", "--host-path", hostPath, "--pvc", claim.Name})...)
	interrupted := s.startStoring(t, join(blobFlags(sas), []string{"--name", "interrupted", "--duration", "0", "--max-size", "0", "-o", "json"})...)
	uploading := s.startStoring(t, join(slowly, []string{"--name", "killed-uploading"})...)
	twice := s.startStoring(t, join(slowly, []string{"--name", "twice"})...)
	for _, p := range []storing{capturing, interrupted, uploading, twice} {
		p.waitFor(t, "capturing")
	}
	for _, node := range []string{"n1", "n2"} {
		sendNoise(t, s.web[node], 8200) // 11 MB
	}
	for _, proxy := range []*storage.Proxy{slowBlobs, slowObjects} {
		waitForUploads(t, proxy, "killed-uploading-n1", "killed-uploading-n2", "twice-n1", "twice-n2")
	}
	for _, p := range []storing{capturing, uploading} {
		p.signal(t, syscall.SIGKILL)
		_ = p.Wait()
	}
	t.Run("Ctrl-C", func(t *testing.T) {
		interrupted.signal(t, syscall.SIGINT)
		r := interrupted.wait(t)
		r.wantCode(t, 130)
		for _, one := range parseStored(t, r.stdout).Archives {
			opened := openArchive(t, container.Download(t, one.Name))
			if got := len(rows(t, opened.packets()[0], "udp.dstport == 9090", "frame.number")); got != 8200 || opened.record.Reason != "stop" {
				t.Errorf("%d of 8200 datagrams, reason %s", got, opened.record.Reason)
			}
		}
		if len(parseStored(t, r.stdout).Archives) != 2 {
			t.Errorf("%s", r)
		}
	})
	t.Run("Ctrl-C twice", func(t *testing.T) {
		twice.signal(t, syscall.SIGINT)
		time.Sleep(600 * time.Millisecond) // longer than what counts as one signal
		began := time.Now()
		twice.signal(t, syscall.SIGINT)
		if r := twice.wait(t); r.code != 130 || time.Since(began) > time.Second {
			t.Errorf("%s later: %s", time.Since(began), r)
		}
	})
	wantCapturesGone(t, "killed-capturing", "killed-uploading", "twice")
	wantNoFiles(t, claim.Dir, hostDir("n1", hostPath), hostDir("n2", hostPath))
	if objects := container.Objects(t); len(objects) != 2 {
		t.Errorf("blobs %+v, want those of the capture that was interrupted", objects)
	}
	if objects := bucket.Objects(t); objects != nil || bucket.Unfinished(t) != nil {
		t.Errorf("objects %+v, unfinished uploads %q", objects, bucket.Unfinished(t))
	}
	t.Logf("blocks without a blob, which the service deletes after a week: %q", container.Unfinished(t))
}

// wantNoFiles checks that directories, which need not exist, have nothing in them.
func wantNoFiles(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if entries, err := os.ReadDir(dir); err != nil && !errors.Is(err, os.ErrNotExist) || len(entries) > 0 {
			t.Errorf("left in %s: %v, %v", dir, entries, err)
		}
	}
}

// wantCapturesGone checks that of these captures nothing is left after a minute. Of
// others there may be.
func wantCapturesGone(t *testing.T, names ...string) {
	t.Helper()
	began, these := time.Now(), metav1.ListOptions{LabelSelector: "retina.sh/capture in (" + strings.Join(names, ",") + ")"}
	eventually(t, time.Minute, func() error {
		pods, err := the.client.CoreV1().Pods("").List(t.Context(), these)
		if err != nil {
			return err
		}
		jobs, err := the.client.BatchV1().Jobs("").List(t.Context(), these)
		if err == nil && len(pods.Items)+len(jobs.Items) > 0 {
			err = fmt.Errorf("%d pods and %d jobs are left", len(pods.Items), len(jobs.Items))
		}
		return err
	})
	t.Logf("gone after %.1fs", time.Since(began).Seconds())
}

// waitForUploads waits until the uploads of these archives are under way.
func waitForUploads(t *testing.T, proxy *storage.Proxy, archives ...string) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		var all strings.Builder
		for _, r := range proxy.Requests() {
			if r.Body > 10<<10 {
				fmt.Fprintln(&all, r.URI)
			}
		}
		for _, archive := range archives {
			if !strings.Contains(all.String(), archive) {
				return fmt.Errorf("no upload of %s", archive)
			}
		}
		return nil
	})
}

// hostPath is a path for archives on the nodes, that goes with the test.
func (s *shop) hostPath(t *testing.T) string {
	t.Helper()
	t.Cleanup(func() {
		for _, node := range []string{"n1", "n2"} {
			onNode(t, node, "rm", "-rf", "/var/log/retina/captures/"+s.namespace)
		}
	})
	return s.namespace
}

// hostDir is where this machine sees a node's directory of a host path.
func hostDir(node, hostPath string) string {
	for _, n := range the.Nodes {
		if n.Name == node {
			return filepath.Join("/proc", strconv.Itoa(n.Init.PID), "root/var/log/retina/captures", hostPath)
		}
	}
	return ""
}
