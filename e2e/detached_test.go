//go:build linux && !unit

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/storage"
)

// A listed capture is one item of capture list -o json.
type listed struct {
	Name, Namespace, Status, Mode string
	Reason                        string
	Packets                       *uint64
	Nodes                         []struct{ Node, Status string }
}

// captures lists the captures of the collector namespace.
func captures(t testing.TB) []listed {
	t.Helper()
	r := retina(t, "capture", "list", "-n", collectorNamespace, "-o", "json")
	r.wantCode(t, 0)
	var list struct {
		APIVersion, Kind string
		Items            []listed
	}
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || list.Kind != "CaptureList" {
		t.Fatalf("%v: %s", err, r.stdout)
	}
	return list.Items
}

// awaitStatus waits until the capture has this status.
func awaitStatus(t testing.TB, name, status string) listed {
	t.Helper()
	var found listed
	eventually(t, 40*time.Second, func() error {
		for _, c := range captures(t) {
			if c.Name == name {
				if found = c; strings.HasPrefix(c.Status, status) {
					return nil
				}
				return fmt.Errorf("capture %s is %s (%s), not %s", name, c.Status, c.Reason, status)
			}
		}
		return fmt.Errorf("capture %s is not listed", name)
	})
	return found
}

// detach starts a capture that goes on by itself.
func detach(t testing.TB, name string, args ...string) result {
	t.Helper()
	r := store(t, append([]string{"--no-wait", "--name", name}, args...)...)
	r.wantCode(t, 0)
	return r
}

func remove(t testing.TB, names ...string) {
	t.Helper()
	retina(t, append([]string{"capture", "delete", "-n", collectorNamespace, "--yes"}, names...)...).wantCode(t, 0)
}

// A capture's life without a destination: its collectors keep it until it is
// downloaded.
func TestDetachedLife(t *testing.T) {
	shop := openShop(t, "")
	r := detach(t, "life", "svc/web", "-n", shop.namespace, "--duration", "5m")
	if !strings.Contains(r.stderr, "capture life has begun on 2 pods on 2 nodes") || r.stdout != "" {
		t.Errorf("%s", r)
	}
	shop.get(t, shop.client["n1"], shop.web["n1"], "/life", 5)
	shop.get(t, shop.client["n1"], shop.web["n2"], "/life", 5)
	if c := awaitStatus(t, "life", "Capturing"); len(c.Nodes) != 2 || c.Mode != "detached" {
		t.Errorf("listed %+v", c)
	}
	table := retina(t, "capture", "list", "-A")
	table.wantCode(t, 0)
	if !regexp.MustCompile(`(?m)^` + collectorNamespace + ` +life +Capturing +2 +2 `).MatchString(table.stdout) {
		t.Errorf("table:\n%s", table.stdout)
	}
	if names := retina(t, "capture", "list", "-n", collectorNamespace, "-o", "name"); !strings.HasSuffix(strings.TrimSpace(names.stdout), "life") {
		t.Errorf("names: %s", names)
	}
	if logs := retina(t, "capture", "logs", "life", "-n", collectorNamespace); strings.Count(logs.stdout, "msg=capturing") != 2 {
		t.Errorf("logs: %s", logs)
	}

	stopped := retina(t, "capture", "stop", "life", "-n", collectorNamespace)
	stopped.wantCode(t, 0)
	awaitStatus(t, "life", "Kept")
	again := retina(t, "capture", "stop", "life", "-n", collectorNamespace)
	again.wantCode(t, 0)

	dir := t.TempDir()
	raw := startIn(t, dir, nil, "capture", "download", "life", "-n", collectorNamespace, "--raw").wait(t)
	raw.wantCode(t, 0)
	files, err := filepath.Glob(dir + "/life-n*.tar.gz")
	if err != nil || len(files) != 2 {
		t.Fatalf("%q %v: %s", files, err, raw)
	}
	for _, file := range files {
		a := openArchive(t, file)
		if got := len(rows(t, a.packets()[0], `http.request.uri == "/life"`, "frame.number")); got != 5 || a.record.Reason != "stop" {
			t.Errorf("%d of 5 requests are in %s, which ended by %s", got, file, a.record.Reason)
		}
	}
	awaitStatus(t, "life", "Done")
	remove(t, "life")
	wantNothingLeft(t)
}

// What nodes have stored somewhere is downloaded from there, merged, while the
// capture is listed and after that.
func TestDownloadFromEverywhere(t *testing.T) {
	shop := openShop(t, "")
	container := azurite(t).Container(t, "download")
	server := s3Server(t)
	bucket := server.Bucket(t, "download")
	claim := storage.StartClaim(t, the.Cluster, the.client, collectorNamespace, "captures")
	hostPath := "download/" + uniqueName(t)
	write, read := container.SAS(t, storage.SAS{Permissions: "cw"}), container.SAS(t, storage.SAS{Permissions: "rld"})
	s3 := []string{"--s3-bucket", bucket.Name, "--s3-endpoint", server.URL, "--s3-region", storage.S3Region, "--s3-secret", s3Secret(t, server.Root)}
	detach(t, "stored", append([]string{"svc/web", "-n", shop.namespace, "--duration", "10s",
		"--blob-upload-file", secretFile(t, write), "--insecure-blob", "--pvc", claim.Name, "--host-path", hostPath}, s3...)...)
	shop.get(t, shop.client["n1"], shop.web["n1"], "/stored", 3)
	shop.get(t, shop.client["n1"], shop.web["n2"], "/stored", 3)
	awaitStatus(t, "stored", "Done")

	from := map[string][]string{
		"blob":      {"--blob-url-file", secretFile(t, read), "--insecure-blob"},
		"S3":        s3,
		"host path": {"--host-path", hostPath, "--node", "n1", "--node", "n2"},
		"pvc":       {"--pvc", claim.Name},
	}
	download := func(t *testing.T, args []string) {
		file := filepath.Join(t.TempDir(), "stored.pcapng")
		r := retina(t, append([]string{"capture", "download", "stored", "-n", collectorNamespace, "--write", file}, args...)...)
		r.wantCode(t, 0)
		if got := len(rows(t, file, `http.request.uri == "/stored"`, "frame.number")); got != 6 {
			t.Errorf("%d of 6 requests arrived: %s", got, r)
		}
	}
	t.Run("listed", func(t *testing.T) { download(t, nil) })
	remove(t, "stored")
	for name, args := range from {
		t.Run(name, func(t *testing.T) { download(t, args) })
	}
	// What is stored goes as well, where it is asked for.
	detach(t, "doomed", append([]string{"svc/web", "-n", shop.namespace, "--duration", "1s",
		"--blob-upload-file", secretFile(t, write), "--insecure-blob", "--pvc", claim.Name, "--host-path", hostPath}, s3...)...)
	awaitStatus(t, "doomed", "Done")
	retina(t, append([]string{"capture", "delete", "doomed", "-n", collectorNamespace, "--delete-files", "--delete-remote",
		"--blob-url-file", secretFile(t, read), "--insecure-blob"}, s3...)...).wantCode(t, 0)
	left := fmt.Sprint(container.Objects(t), bucket.Objects(t), onNode(t, "n1", "ls", "/var/log/retina/captures/"+hostPath), onNode(t, "n2", "ls", "/var/log/retina/captures/"+hostPath))
	if strings.Contains(left, "doomed") || strings.Count(left, "stored-n") != 6 {
		t.Errorf("left of the deleted capture, and of the other: %s", left)
	}
	onNode(t, "n1", "rm", "-r", "/var/log/retina/captures/download")
	onNode(t, "n2", "rm", "-r", "/var/log/retina/captures/download")
	wantNothingLeft(t)
}

// Its time to live ends a capture that nobody deletes.
func TestDetachedEndsByItsTimeToLive(t *testing.T) {
	shop := openShop(t, "")
	container := azurite(t).Container(t, "ttl")
	detach(t, "ttl", "pod/web-n1", "-n", shop.namespace, "--duration", "2s", "--keep", "1m",
		"--blob-upload-file", secretFile(t, container.SAS(t, storage.SAS{Permissions: "cw"})), "--insecure-blob")
	awaitStatus(t, "ttl", "Done")
	if len(container.Objects(t)) != 1 {
		t.Errorf("blobs %v", container.Objects(t))
	}
	job, err := the.client.BatchV1().Jobs(collectorNamespace).Get(t.Context(), "retina-capture-ttl", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ttl := time.Duration(*job.Spec.TTLSecondsAfterFinished) * time.Second; ttl < time.Minute || ttl > 2*time.Hour {
		t.Errorf("time to live %s", ttl)
	}
	// The rest is Kubernetes' own, and takes as long as it says: here it is over at once.
	kubectl(t, "patch", "job", "retina-capture-ttl", "-n", collectorNamespace, "--type=merge", "-p", `{"spec":{"ttlSecondsAfterFinished":1}}`)
	wantNothingLeft(t)
}

// An upload that fails for good leaves the archive with its collector, until it is
// downloaded.
func TestDetachedUploadFails(t *testing.T) {
	shop := openShop(t, "")
	container := azurite(t).Container(t, "revoked")
	container.SetPolicy(t, "ours", storage.SAS{Permissions: "cw", Expiry: time.Now().Add(time.Hour)})
	detach(t, "revoked", "pod/web-n1", "-n", shop.namespace, "--duration", "4s",
		"--blob-upload-file", secretFile(t, container.SAS(t, storage.SAS{Policy: "ours"})), "--insecure-blob")
	container.SetPolicy(t, "ours", storage.SAS{})
	shop.get(t, shop.client["n1"], shop.web["n1"], "/revoked", 5)
	c := awaitStatus(t, "revoked", "Kept")
	if text := fmt.Sprint(c.Status, c.Reason, c.Nodes); !strings.Contains(text, "403") {
		t.Errorf("the service's code is not told: %s", text)
	}
	file := filepath.Join(t.TempDir(), "kept.pcapng")
	retina(t, "capture", "download", "revoked", "-n", collectorNamespace, "--write", file).wantCode(t, 0)
	if got := len(rows(t, file, `http.request.uri == "/revoked"`, "frame.number")); got != 5 {
		t.Errorf("%d of 5 requests arrived", got)
	}
	remove(t, "revoked")
	wantNothingLeft(t)
}

// kill -9 at any moment before the capture has been left to itself leaves nothing.
func TestKill9BeforeRelease(t *testing.T) {
	shop := openShop(t, "")
	for _, moment := range []string{"job", "pod", "ready"} {
		t.Run(moment, func(t *testing.T) {
			for !killedBeforeRelease(t, shop, moment) {
				remove(t, "killed") // too late: it was left to itself already
			}
			wantNothingLeft(t)
		})
	}
}

// killedBeforeRelease starts a capture and kills the command when the moment has
// come. False: the command was faster.
func killedBeforeRelease(t *testing.T, shop *shop, moment string) bool {
	t.Helper()
	p := start(t, "capture", "create", "--collector-namespace", collectorNamespace, "--no-wait", "--name", "killed", "svc/web", "-n", shop.namespace, "--duration", "5m")
	eventually(t, 20*time.Second, func() error {
		switch moment {
		case "job":
			_, err := the.client.BatchV1().Jobs(collectorNamespace).Get(t.Context(), "retina-capture-killed", metav1.GetOptions{})
			return err
		case "pod":
			pods, err := the.client.CoreV1().Pods(collectorNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "retina.sh/capture=killed"})
			if err == nil && len(pods.Items) == 0 {
				return fmt.Errorf("no pod yet")
			}
			return err
		}
		if !strings.Contains(p.stderr.String(), "ready in") {
			return fmt.Errorf("nothing is ready yet: %s", p.stderr.String())
		}
		return nil
	})
	p.signal(t, syscall.SIGKILL)
	p.wait(t)
	job, err := the.client.BatchV1().Jobs(collectorNamespace).Get(t.Context(), "retina-capture-killed", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	return *job.Spec.TTLSecondsAfterFinished < 300 // that of a lease, prolonged from its beginning on
}

// A name is one capture's.
func TestNamesAreUnique(t *testing.T) {
	shop := openShop(t, "")
	detach(t, "taken", "pod/web-n1", "-n", shop.namespace, "--duration", "5m")
	store(t, "--name", "taken", "--no-wait", "pod/web-n1", "-n", shop.namespace, "--duration", "5s").
		wantError(t, 1, "there is a capture taken", "--name")
	retina(t, "capture", "delete", "-n", collectorNamespace, "absent").wantError(t, 1, "absent")
	if jobs := captureJobs(t); len(jobs) != 1 {
		t.Errorf("%d jobs", len(jobs))
	}
	remove(t, "taken")
	wantNothingLeft(t)
}

func captureJobs(t testing.TB) []batchv1.Job {
	t.Helper()
	jobs, err := the.client.BatchV1().Jobs(collectorNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: ours})
	if err != nil {
		t.Fatal(err)
	}
	return jobs.Items
}

// The stream to a node that stores is cut; the archive does not care.
func TestCutStreamOfAStoredCapture(t *testing.T) {
	shop := openShop(t, "")
	hostPath := "cut/" + uniqueName(t)
	p := start(t, "capture", "create", "--collector-namespace", collectorNamespace, "svc/web", "-n", shop.namespace, "--duration", "12s", "--host-path", hostPath)
	p.waitFor(t, "capturing")
	shop.get(t, shop.client["n1"], shop.web["n1"], "/cut", 3)
	cut := 0
	for _, pid := range collectors(t, "n1") {
		if strings.Contains(onNode(t, "n1", "cat", "/proc/"+pid+"/cmdline"), "attach") {
			onNode(t, "n1", "kill", "-KILL", pid)
			cut++
		}
	}
	if cut != 1 {
		t.Fatalf("%d streams were cut", cut)
	}
	shop.get(t, shop.client["n1"], shop.web["n1"], "/cut", 3)
	r := p.wait(t)
	r.wantCode(t, 0)
	files := fromNode(t, "n1", "/var/log/retina/captures/"+hostPath)
	if len(files) != 1 {
		t.Fatalf("%q: %s", files, r)
	}
	a := openArchive(t, files[0])
	if got := len(rows(t, a.packets()[0], `http.request.uri == "/cut"`, "frame.number")); got != 6 {
		t.Errorf("%d of 6 requests are in the archive", got)
	}
	wantNothingLeft(t)
}

// cleanup removes what nobody needs and leaves what runs.
func TestCleanup(t *testing.T) {
	shop := openShop(t, "")
	detach(t, "running", "pod/web-n1", "-n", shop.namespace, "--duration", "5m")
	detach(t, "ended", "pod/web-n2", "-n", shop.namespace, "--duration", "1s", "--host-path", "cleanup")
	awaitStatus(t, "ended", "Done")
	apply(t, fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: old, namespace: %s, labels: {app.kubernetes.io/name: kubectl-retina, app.kubernetes.io/managed-by: kubectl-retina, retina.sh/run: gone, retina.sh/component: collector}}\n", collectorNamespace))
	eventually(t, 20*time.Second, func() error { // the pod's end shows a little later
		dry := retina(t, "cleanup", "-n", collectorNamespace, "--dry-run")
		dry.wantCode(t, 0)
		for _, want := range []string{"retina-capture-ended", "secret/old", "(dry run)"} {
			if !strings.Contains(dry.stdout, want) {
				return fmt.Errorf("%q is not in:\n%s", want, dry)
			}
		}
		return nil
	})
	if got := len(captures(t)); got != 2 {
		t.Errorf("a dry run left %d captures of 2", got)
	}
	retina(t, "cleanup", "-n", collectorNamespace).wantCode(t, 0)
	if left := captures(t); len(left) != 1 || left[0].Name != "running" {
		t.Errorf("left %+v", left)
	}
	retina(t, "cleanup", "-A", "--force").wantCode(t, 0)
	wantNothingLeft(t)
	onNode(t, "n2", "rm", "-r", "/var/log/retina/captures/cleanup")
}

// A download that was interrupted is gone on with, and what is not the beginning of
// the archive is noticed.
func TestDownloadGoesOn(t *testing.T) {
	shop := openShop(t, "")
	hostPath := "resumed/" + uniqueName(t)
	detach(t, "resumed", "pod/web-n1", "-n", shop.namespace, "--duration", "1s", "--host-path", hostPath)
	awaitStatus(t, "resumed", "Done")
	download := func(dir string) result {
		return startIn(t, dir, nil, "capture", "download", "resumed", "-n", collectorNamespace, "--raw").wait(t)
	}
	first := t.TempDir()
	download(first).wantCode(t, 0)
	files, err := filepath.Glob(first + "/*.tar.gz")
	if err != nil || len(files) != 1 {
		t.Fatalf("%q %v", files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	half := func(change byte) (dir, partial string) {
		dir = t.TempDir()
		part := slices.Clone(whole[:len(whole)/2])
		part[100] ^= change
		partial = filepath.Join(dir, filepath.Base(files[0])+".partial")
		if err := os.WriteFile(partial, part, 0o600); err != nil {
			t.Fatal(err)
		}
		return dir, partial
	}
	dir, partial := half(0)
	download(dir).wantCode(t, 0)
	if got, err := os.ReadFile(strings.TrimSuffix(partial, ".partial")); err != nil || !slices.Equal(got, whole) {
		t.Errorf("%d bytes instead of %d: %v", len(got), len(whole), err)
	}
	dir, partial = half(1)
	if r := download(dir); r.code == 0 {
		got, err := os.ReadFile(strings.TrimSuffix(partial, ".partial"))
		if err != nil || !slices.Equal(got, whole) {
			t.Errorf("a damaged beginning was taken: %s", r)
		}
	} else {
		download(dir).wantCode(t, 0)
	}
	openArchive(t, strings.TrimSuffix(partial, ".partial"))
	remove(t, "resumed")
	onNode(t, "n1", "rm", "-r", "/var/log/retina/captures/resumed")
	wantNothingLeft(t)
}
