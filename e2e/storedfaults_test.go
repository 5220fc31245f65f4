//go:build linux && !unit

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/storage"
)

// patience is how long a capture may take that cannot be stored: the documentation
// says that uploads are tried again for about two minutes, and how the pauses fall is
// left to chance.
const patience = 150 * time.Second

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
	took := secondsOf(t, r)
	if took > patience {
		t.Errorf("tried for %s: %s", took, r)
	}
	t.Logf("%.1fs: %s", took.Seconds(), r.stderr)
	for _, node := range []string{"n1", "n2"} {
		for _, cause := range h.causes {
			if !regexp.MustCompile(`(?m)^error: node ` + node + `: not stored at ` + cause).MatchString(r.stderr) {
				t.Errorf("node %s: no %q in stderr:\n%s", node, cause, r.stderr)
			}
		}
		wantSavedHere(t, h.dir, r, node, len(h.causes))
	}
}

// secondsOf is how long a capture has taken with its uploads, as its summary says:
// others have been waited for meanwhile.
func secondsOf(t *testing.T, r result) time.Duration {
	t.Helper()
	var s struct{ DurationSeconds float64 }
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil || s.DurationSeconds == 0 {
		t.Fatalf("%v: %s", err, r)
	}
	return time.Duration(s.DurationSeconds * float64(time.Second))
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
			wantEverywhere(t, container, bucket, r)
			t.Logf("after %.1fs", r.took.Seconds())
		})
	}
	if left := append(container.Unfinished(t), bucket.Unfinished(t)...); left != nil {
		t.Errorf("unfinished: %q", left)
	}
}

// wantEverywhere checks that the archives of both nodes are in both places.
func wantEverywhere(t *testing.T, container *storage.Container, bucket *storage.Bucket, r result) {
	t.Helper()
	sums, copies := map[string]string{}, 0
	for _, one := range parseStored(t, r.stdout).Archives {
		var file string
		if strings.HasPrefix(one.Where, "blob ") {
			file = container.Download(t, one.Name)
		} else {
			file = bucket.Download(t, one.Name)
		}
		if sum := fileSum(t, file); one.Error != "" || one.SHA256 != sum || sums[one.Node] != "" && sums[one.Node] != sum {
			t.Errorf("archive %+v has checksum %s, elsewhere %s", one, sum, sums[one.Node])
		}
		if opened := openArchive(t, file); opened.record.Bytes < 9<<20 || opened.record.Lost != 0 {
			t.Errorf("record %+v", opened.record)
		}
		sums[one.Node] = one.SHA256
		copies++
	}
	if len(sums) != 2 || copies != 4 {
		t.Errorf("%d archives of %d nodes: %s", copies, len(sums), r)
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

// fileSum is the SHA-256 of a file.
func fileSum(t testing.TB, file string) string {
	t.Helper()
	sum, _, _ := strings.Cut(quietly(t, "sha256sum", file), " ")
	return sum
}
