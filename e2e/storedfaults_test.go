//go:build linux && !unit

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/storage"
)

// patience is how long a capture may take that cannot be stored: the documentation
// says that uploads are tried again for about two minutes, how the pauses fall is
// left to chance, and collectors start and finish before and after.
const patience = 170 * time.Second

// A storing is a capture that nodes store, of a command with a directory of its own.
type storing struct {
	*process
	dir string
}

// startStoring starts a capture of the shop's servers.
func (s *shop) startStoring(t testing.TB, args ...string) storing {
	t.Helper()
	dir := t.TempDir()
	return storing{startIn(t, dir, nil, append([]string{
		"capture", "create", "--collector-namespace", collectorNamespace, "-l", "app=web", "-n", s.namespace,
	}, args...)...), dir}
}

// sendNoise sends datagrams of 1400 bytes that do not compress from a node to a pod.
func sendNoise(t testing.TB, to *corev1.Pod, datagrams int) {
	t.Helper()
	// To a descriptor that is a connected socket, each write is a datagram.
	script := fmt.Sprintf("exec 3<>/dev/udp/%s/9090 && exec dd if=/dev/urandom bs=1400 count=%d status=none >&3", to.Status.PodIP, datagrams)
	onNode(t, to.Spec.NodeName, "bash", "-c", script)
}

// s3Flags name a bucket at an endpoint.
func s3Flags(endpoint, bucket string, who storage.Credentials) []string {
	return []string{
		"--s3-endpoint", endpoint, "--s3-region", storage.S3Region, "--s3-bucket", bucket, "--s3-path", "",
		"--s3-access-key-id", who.AccessKeyID, "--s3-secret-access-key", who.SecretAccessKey,
	}
}

func blobFlags(sas string) []string { return []string{"--insecure-blob", "--blob-upload", sas} }

func join(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// TestUploads breaks uploads in every way. It is one test because one of its
// captures takes two minutes to give up, during which the others run.
func TestUploads(t *testing.T) {
	s := openShop(t, "")
	down := s.startUnreachable(t)
	t.Run("fails for good", s.testUploadFailsForGood)
	t.Run("gets through trouble", s.testUploadThroughTrouble)
	t.Run("fails on one node", s.testOneNodeCannotUpload)
	t.Run("command ends", s.testStoringCommandEnds)
	t.Run("big capture", s.testBigCapture)
	t.Run("server is down", func(t *testing.T) {
		r := down.wait(t)
		down.check(t, r)
	})
	wantNothingLeft(t)
}

// A hopeless upload will never succeed.
type hopeless struct {
	storing
	args   []string // destinations
	while  func()   // what happens while the nodes capture
	causes []string // patterns, one for each destination
}

// start starts the capture, which ends by its packets.
func (h *hopeless) start(t *testing.T, s *shop, name string) {
	t.Helper()
	h.storing = s.startStoring(t, join(h.args, []string{"--name", name, "--duration", "3m", "--packet-count", "40", "-o", "json"})...)
}

// startUnreachable starts a capture for servers that refuse connections for ever.
func (s *shop) startUnreachable(t *testing.T) *hopeless {
	t.Helper()
	proxy := storage.StartProxy(t, the.Cluster, azurite(t).URL)
	if err := proxy.Refuse(true); err != nil {
		t.Fatal(err)
	}
	sas := proxy.Through(azurite(t).Existing(t, "unreachable").SAS(t, storage.SAS{Permissions: "cw"}))
	h := &hopeless{
		args:   join(blobFlags(sas), s3Flags(proxy.URL, "unreachable", s3Server(t).Root)),
		causes: []string{"blob .*: connection refused", "s3 .*: connection refused"},
	}
	h.start(t, s, "unreachable")
	h.waitFor(t, "capturing")
	s.sendToAll(t)
	return h
}

// sendToAll sends more datagrams to each server than hopeless captures wait for.
func (s *shop) sendToAll(t *testing.T) {
	t.Helper()
	for _, node := range []string{"n1", "n2"} {
		s.send(t, s.client[node], s.web[node].Status.PodIP, 60)
	}
}

// testUploadFailsForGood says the service's own code for each node, and brings the
// archives here instead.
func (s *shop) testUploadFailsForGood(t *testing.T) {
	all := hopelessUploads(t)
	secrets := secretsOf(t, all["refused"].args[2], s3Server(t).Root.SecretAccessKey, s3Server(t).Stranger.SecretAccessKey)
	for name, h := range all {
		h.start(t, s, name)
	}
	for _, h := range all {
		h.waitFor(t, "capturing")
	}
	for _, h := range all {
		if h.while != nil {
			h.while()
		}
	}
	s.sendToAll(t)
	for name, h := range all {
		t.Run(name, func(t *testing.T) {
			r := h.wait(t)
			secrets.absent(t, "the output", r.stdout+r.stderr)
			h.check(t, r)
			if strings.Count(r.stderr, "storing ") > 3 { // a line of progress every ten seconds
				t.Errorf("it was tried again: %s", r)
			}
		})
	}
}

func hopelessUploads(t *testing.T) map[string]*hopeless {
	t.Helper()
	a, server := azurite(t), s3Server(t)
	cw := storage.SAS{Permissions: "cw"}
	other, deleted, revoked := a.Container(t, "other"), a.Container(t, "deleted"), a.Container(t, "revoked")
	server.Bucket(t, "others")
	revoked.SetPolicy(t, "uploads", cw)
	refusing := storage.StartProxy(t, the.Cluster, a.URL)
	refusing.Set(storage.Fault{Status: http.StatusForbidden, Code: "AuthenticationFailed"})
	nobody := strings.Replace(other.SAS(t, cw), a.URL, "https://absent.blob.core.windows.net", 1)
	wrong := regexp.MustCompile(`sig=[^&]*`).ReplaceAllString(other.SAS(t, cw), "sig="+strings.Repeat("A", 43)+"%3D")
	return map[string]*hopeless{
		"stranger": {
			args:   join(blobFlags(wrong), s3Flags(server.URL, "others", server.Stranger)),
			causes: []string{"blob .*: 403 AuthorizationFailure", "s3 others at .*: 403 AccessDenied"},
		},
		"absent": {
			args:   join(blobFlags(a.Existing(t, "absent").SAS(t, cw)), s3Flags(server.URL, "absent", server.Root)),
			causes: []string{"blob .*/absent: .*: 404 ContainerNotFound", "s3 absent at .*: 404 NoSuchBucket"},
		},
		"another": { // its signature is for another container
			args:   blobFlags(strings.Replace(other.SAS(t, cw), "/other?", "/revoked?", 1)),
			causes: []string{"blob .*/revoked: .*: 403 AuthorizationFailure"},
		},
		"deleted": {
			args: blobFlags(deleted.SAS(t, cw)), while: func() { deleted.Delete(t) },
			causes: []string{"blob .*/deleted: .*: 404 ContainerNotFound"},
		},
		"revoked": {
			args:   blobFlags(revoked.SAS(t, storage.SAS{Policy: "uploads"})),
			while:  func() { revoked.SetPolicy(t, "uploads", storage.SAS{}) },
			causes: []string{"blob .*/revoked: .*: 403 AuthorizationFailure"},
		},
		"refused": { // with the code that Azure has for what Azurite calls AuthorizationFailure
			args:   blobFlags(refusing.Through(other.SAS(t, cw))),
			causes: []string{"blob .*/other: .*: 403 AuthenticationFailed"},
		},
		"unknown": {
			args:   join(blobFlags(nobody), s3Flags("https://absent.example", "captures", server.Root)),
			causes: []string{"blob .*: look up absent.blob.core.windows.net: no such host", "s3 .*: look up absent.example: no such host"},
		},
	}
}

// check looks at the end of a hopeless upload from both nodes.
func (h *hopeless) check(t *testing.T, r result) {
	t.Helper()
	r.wantCode(t, 3)
	if r.took > patience {
		t.Errorf("tried for too long: %s", r)
	}
	t.Logf("after %.1fs: %s", r.took.Seconds(), r.stderr)
	for _, node := range []string{"n1", "n2"} {
		for _, cause := range h.causes {
			if !regexp.MustCompile(`(?m)^error: node ` + node + `: not stored at ` + cause).MatchString(r.stderr) {
				t.Errorf("node %s: no %q in stderr:\n%s", node, cause, r.stderr)
			}
		}
		wantSavedHere(t, h.dir, r, node, len(h.causes))
	}
}

// wantSavedHere checks that a node's archive is here, as the summary and the words
// say, and failed in so many destinations.
func wantSavedHere(t *testing.T, dir string, r result, node string, failed int) *openedArchive {
	t.Helper()
	var file string
	for _, a := range parseStored(t, r.stdout).Archives {
		switch {
		case a.Node == node && a.Where == "file" && a.Error == "" && a.Bytes > 0:
			file = a.Name
		case a.Node == node && a.Error != "" && a.Bytes == 0 && a.SHA256 == "":
			failed--
		case a.Node == node:
			t.Errorf("archive %+v", a)
		}
	}
	if file == "" || failed != 0 || !strings.Contains(r.stderr, node+": saved here instead: "+file+"\n") {
		t.Fatalf("node %s: file %q, %d failures not told: %s", node, file, failed, r)
	}
	opened := openArchive(t, filepath.Join(dir, file))
	if got := len(rows(t, opened.packets()[0], "udp.dstport == 9090", "frame.number")); got < 30 {
		t.Errorf("%d of at least 30 datagrams are in %s", got, file)
	}
	return opened
}

// testUploadThroughTrouble gets over whatever passes.
func (s *shop) testUploadThroughTrouble(t *testing.T) {
	a, server := azurite(t), s3Server(t)
	container, bucket := a.Container(t, "trouble"), server.Bucket(t, "trouble")
	type troubled struct {
		storing
		proxies []*storage.Proxy
	}
	running := map[string]troubled{}
	for name, fault := range map[string]storage.Fault{
		"error-500":  {Status: http.StatusInternalServerError, Times: 4},
		"busy-503":   {Status: http.StatusServiceUnavailable, Times: 2, Header: http.Header{"Retry-After": {"2"}}},
		"slow":       {BytesPerSecond: 3 << 20},
		"cut-blocks": {CutRequest: 1 << 20, Times: 3},
	} {
		blobs, objects := storage.StartProxy(t, the.Cluster, a.URL), storage.StartProxy(t, the.Cluster, server.URL)
		blobs.Set(fault)
		objects.Set(fault)
		p := s.startStoring(t, join(blobFlags(blobs.Through(container.SAS(t, storage.SAS{Permissions: "cw"}))), s3Flags(objects.URL, bucket.Name, server.Root),
			[]string{"--name", name, "--duration", "90s", "--max-size", "10", "-o", "json"})...)
		running[name] = troubled{p, []*storage.Proxy{blobs, objects}}
	}
	for _, p := range running {
		p.waitFor(t, "capturing")
	}
	for _, node := range []string{"n1", "n2"} {
		sendNoise(t, s.web[node], 8200) // 11 MB
	}
	for name, p := range running {
		t.Run(name, func(t *testing.T) {
			r := p.wait(t)
			r.wantCode(t, 0)
			for _, proxy := range p.proxies {
				if proxy.Faulted() < 2 {
					t.Errorf("%d requests of %d befallen", proxy.Faulted(), len(proxy.Requests()))
				}
			}
			sums := map[string]string{}
			for _, one := range parseStored(t, r.stdout).Archives {
				file := ""
				if strings.HasPrefix(one.Where, "blob ") {
					file = container.Download(t, one.Name)
				} else {
					file = bucket.Download(t, one.Name)
				}
				if sum := fileSum(t, file); one.Error != "" || one.SHA256 != sum || sums[one.Node] != "" && sums[one.Node] != sum {
					t.Errorf("archive %+v has checksum %s, elsewhere %s", one, sum, sums[one.Node])
				}
				sums[one.Node] = one.SHA256
				if opened := openArchive(t, file); opened.record.Bytes < 9<<20 || opened.record.Lost != 0 {
					t.Errorf("record %+v", opened.record)
				}
			}
			if len(sums) != 2 {
				t.Errorf("archives of %d nodes: %s", len(sums), r)
			}
			t.Logf("after %.1fs", r.took.Seconds())
		})
	}
	if left := append(container.Unfinished(t), bucket.Unfinished(t)...); left != nil {
		t.Errorf("unfinished: %q", left)
	}
}

// testOneNodeCannotUpload stores what can be stored.
func (s *shop) testOneNodeCannotUpload(t *testing.T) {
	container := azurite(t).Container(t, "one-node")
	proxy := storage.StartProxy(t, the.Cluster, azurite(t).URL)
	proxy.Set(storage.Fault{Status: http.StatusForbidden, Code: "AuthorizationPermissionMismatch", Match: func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "-n2-")
	}})
	p := s.startStoring(t, join(blobFlags(proxy.Through(container.SAS(t, storage.SAS{Permissions: "cw"}))), []string{"--packet-count", "40", "-o", "json"})...)
	p.waitFor(t, "capturing")
	s.sendToAll(t)
	r := p.wait(t)
	r.wantCode(t, 3)
	wantSavedHere(t, p.dir, r, "n2", 1)
	if !strings.Contains(r.stderr, "error: node n2: not stored at blob ") || !strings.Contains(r.stderr, "403 AuthorizationPermissionMismatch") || strings.Contains(r.stderr, "error: node n1") {
		t.Errorf("%s", r)
	}
	objects := container.Objects(t)
	if len(objects) != 1 || !strings.Contains(objects[0].Name, "-n1-") || !strings.Contains(r.stderr, "n1: stored "+objects[0].Name) {
		t.Fatalf("blobs %+v\n%s", objects, r)
	}
	openArchive(t, container.Download(t, objects[0].Name))
	if here, err := filepath.Glob(filepath.Join(p.dir, "*")); err != nil || len(here) != 1 {
		t.Errorf("files here: %q, %v", here, err)
	}
}

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
	for _, dir := range []string{claim.Dir, s.hostDir("n1", hostPath), s.hostDir("n2", hostPath)} {
		if entries, err := os.ReadDir(dir); err != nil && !errors.Is(err, os.ErrNotExist) || len(entries) > 0 {
			t.Errorf("left in %s: %v, %v", dir, entries, err)
		}
	}
	if objects := container.Objects(t); len(objects) != 2 {
		t.Errorf("blobs %+v, want those of the capture that was interrupted", objects)
	}
	if objects := bucket.Objects(t); objects != nil || bucket.Unfinished(t) != nil {
		t.Errorf("objects %+v, unfinished uploads %q", objects, bucket.Unfinished(t))
	}
	t.Logf("blocks without a blob, which the service deletes after a week: %q", container.Unfinished(t))
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
func (s *shop) hostDir(node, hostPath string) string {
	for _, n := range the.Nodes {
		if n.Name == node {
			return filepath.Join("/proc", strconv.Itoa(n.Init.PID), "root/var/log/retina/captures", hostPath)
		}
	}
	return ""
}

// fileSum is the SHA-256 of a file.
func fileSum(t testing.TB, file string) string {
	t.Helper()
	sum, _, _ := strings.Cut(quietly(t, "sha256sum", file), " ")
	return sum
}
