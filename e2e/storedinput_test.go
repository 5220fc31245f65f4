//go:build linux && !unit

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/storage"
)

// A mistake is a command line that is refused, and what is said then.
type mistake struct {
	args  []string
	code  int
	texts []string // the first is the error, and a hint is the last where there is one
}

// TestWrongDestination is refused before anything is created, and never by a text
// that shows a secret.
func TestWrongDestination(t *testing.T) {
	s := openShop(t, "")
	c := azurite(t).Container(t, "wrong-destination")
	server := s3Server(t)
	keys := s3Secret(t, server.Root)
	pending := pendingClaim(t)
	good := c.SAS(t, storage.SAS{Permissions: "cw"})
	taken := start(t, "capture", "create", "-l", "app=client", "-n", s.namespace, "--collector-namespace", collectorNamespace,
		"--name", "taken", "--duration", "0", "--write", filepath.Join(t.TempDir(), "taken.pcapng"))
	taken.waitFor(t, "capturing")

	all := map[string]mistake{}
	for _, some := range []map[string]mistake{
		wrongSignatures(t, c, good), wrongBlobs(t, good, keys), wrongBuckets(server), wrongDirectories(pending), wrongStored(),
	} {
		for name, m := range some {
			all[name] = m
		}
	}
	secrets := secretsOf(t, good, server.Root.SecretAccessKey, server.Root.AccessKeyID)
	wantNothingCreated(t, func() {
		for name, m := range all {
			t.Run(name, func(t *testing.T) { s.wantRefused(t, m, secrets) })
		}
	})
	taken.signal(t, syscall.SIGINT)
	taken.wait(t).wantCode(t, 130)
	wantNothingLeft(t)
}

// wantRefused runs a command line that is wrong.
func (s *shop) wantRefused(t *testing.T, m mistake, secrets secrets) {
	t.Helper()
	env := []string{"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null"}
	args := []string{"capture", "create", "-l", "app=web", "-n", s.namespace, "--collector-namespace", collectorNamespace, "--duration", "1s"}
	r := startIn(t, t.TempDir(), env, append(args, m.args...)...).wait(t)
	r.wantError(t, m.code, m.texts...)
	hints := 0
	for _, text := range m.texts {
		hints += strings.Count(text, "hint: ")
	}
	if strings.Count(r.stderr, "error: ") != 1 || strings.Count(r.stderr, "hint: ") != hints || strings.Count(r.stderr, "\n") != 1+hints {
		t.Errorf("not one error with %d hints:\n%s", hints, r.stderr)
	}
	secrets.absent(t, "the output", r.stdout+r.stderr)
	for _, arg := range m.args {
		if _, signature, ok := strings.Cut(arg, "sig="); ok && signature != "" && strings.Contains(r.stderr, signature) {
			t.Errorf("the signature shows:\n%s", r.stderr)
		}
	}
	t.Log(r.stderr)
}

// pendingClaim makes a claim that no volume fits.
func pendingClaim(t *testing.T) string {
	t.Helper()
	name := uniqueName(t)
	apply(t, fmt.Sprintf("---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: %s, namespace: %s}\n"+
		"spec: {accessModes: [ReadWriteMany], storageClassName: \"\", resources: {requests: {storage: 1Gi}}}\n", name, collectorNamespace))
	return name
}

func wrongSignatures(t *testing.T, c *storage.Container, good string) map[string]mistake {
	t.Helper()
	now := time.Now()
	blob := func(sas string) []string { return []string{"--insecure-blob", "--blob-upload", sas} }
	cut := strings.Index(good, "sig=")
	return map[string]mistake{
		"SAS expired": {blob(c.SAS(t, storage.SAS{Permissions: "cw", Expiry: now.Add(-time.Minute)})), 2,
			[]string{"error: --blob-upload: signature of the blob URL has expired at 20", "hint: create a new SAS of the container"}},
		"SAS not valid yet": {blob(c.SAS(t, storage.SAS{Permissions: "cw", Start: now.Add(time.Hour), Expiry: now.Add(2 * time.Hour)})), 2,
			[]string{"signature of the blob URL is not valid before 20", "hint: wait until then"}},
		"SAS to read": {blob(c.SAS(t, storage.SAS{Permissions: "rl"})), 2,
			[]string{"lacks the permission to write", "hint: create a SAS of the container with it (sp=w)"}},
		"SAS of a blob": {blob(c.BlobSAS(t, "one", storage.SAS{Permissions: "cw"})), 2,
			[]string{"error: --blob-upload: blob URL ", "hint: "}},
		"SAS of a blob for the container": {blob(strings.Replace(c.BlobSAS(t, "one", storage.SAS{Permissions: "cw"}), "/one?", "?", 1)), 2,
			[]string{"is for one blob (sr=b), not for a container", "hint: create a SAS of the container"}},
		"account SAS without objects": {blob(c.AccountSAS(t, storage.SAS{Permissions: "cw"}, "sc")), 2,
			[]string{"is not for objects (srt)", "hint: create a SAS of the container"}},
		"SAS without signature": {blob(strings.TrimRight(good[:cut], "&")), 2,
			[]string{"blob URL has no signature (sig)", "hint: put the URL in quotes"}},
		"SAS cut in the signature": {blob(good[:cut] + "sig=AbCdEfGhIjKlMnOpQr"), 2,
			[]string{"signature of the blob URL (sig) is cut or damaged", "hint: copy the SAS URL of the container again, whole"}},
		"SAS cut in an escape": {blob(good[:cut] + "sig=AbCdEfGhIj%2"), 2,
			[]string{"query of the blob URL cannot be parsed", "hint: copy the SAS URL of the container again, whole"}},
		"SAS for https only": {blob(c.SAS(t, storage.SAS{Permissions: "cw", HTTPSOnly: true})), 2,
			[]string{"blob URL is http, but its signature is for https only (spr)", "hint: begin it with https://"}},
		"http": {[]string{"--blob-upload", good}, 2, []string{"blob URL is not https", "hint: begin it with https://, or pass --insecure-blob"}},
	}
}

func wrongBlobs(t *testing.T, good, otherSecret string) map[string]mistake {
	t.Helper()
	file, missing := secretFile(t, good), filepath.Join(t.TempDir(), "missing")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]mistake{
		"flag and file":   {[]string{"--insecure-blob", "--blob-upload", good, "--blob-upload-file", file}, 2, []string{"--blob-upload, --blob-upload-file and --blob-upload-secret exclude each other"}},
		"file and secret": {[]string{"--insecure-blob", "--blob-upload-secret", otherSecret, "--blob-upload-file", file}, 2, []string{"exclude each other"}},
		"empty variable":  {[]string{"--blob-upload", ""}, 2, []string{"--blob-upload is empty", "hint: is the variable that it comes from set?"}},
		"no URL":          {[]string{"--blob-upload", "captures"}, 2, []string{"error: --blob-upload: ", "hint: "}},
		"missing file":    {[]string{"--blob-upload-file", missing}, 2, []string{"error: --blob-upload-file: open " + missing + ": no such file"}},
		"unreadable file": {[]string{"--blob-upload-file", t.TempDir()}, 2, []string{"error: ", "is a directory"}},
		"empty file":      {[]string{"--blob-upload-file", empty}, 2, []string{"blob URL is empty"}},
		"empty input":     {[]string{"--blob-upload", "-"}, 2, []string{"blob URL is empty"}},
		"no secret":       {[]string{"--blob-upload-secret", "absent"}, 2, []string{"--blob-upload-secret: there is no secret absent in namespace " + collectorNamespace, "hint: the namespace is that of --collector-namespace"}},
		"no key":          {[]string{"--blob-upload-secret", otherSecret}, 2, []string{"secret " + collectorNamespace + "/" + otherSecret + " has no blob-upload-url"}},
		"no such key":     {[]string{"--blob-upload-secret", otherSecret + "/mine"}, 2, []string{"has no mine"}},
	}
}

func wrongBuckets(server *storage.S3) map[string]mistake {
	id, secret := server.Root.AccessKeyID, server.Root.SecretAccessKey
	keys := []string{"--s3-access-key-id", id, "--s3-secret-access-key", secret}
	bucket := func(more ...string) []string { return append([]string{"--s3-bucket", "captures"}, more...) }
	return map[string]mistake{
		"region without bucket":   {[]string{"--s3-region", "eu-west-1"}, 2, []string{"--s3-region needs --s3-bucket"}},
		"endpoint without bucket": {[]string{"--s3-endpoint", server.URL}, 2, []string{"--s3-endpoint needs --s3-bucket"}},
		"keys without bucket":     {keys, 2, []string{"--s3-access-key-id needs --s3-bucket"}},
		"empty bucket":            {[]string{"--s3-bucket", ""}, 2, []string{"--s3-bucket is empty"}},
		"bucket with path":        {[]string{"--s3-bucket", "captures/sub"}, 2, []string{`--s3-bucket "captures/sub" is not the name of a bucket`, "hint: write the bucket alone"}},
		"ID alone":                {bucket("--s3-access-key-id", id), 2, []string{"--s3-access-key-id and --s3-secret-access-key belong together"}},
		"secret key alone":        {bucket("--s3-secret-access-key", secret), 2, []string{"--s3-access-key-id and --s3-secret-access-key belong together"}},
		"keys twice":              {bucket(append(keys, "--s3-secret", "x")...), 2, []string{"--s3-access-key-id and --s3-secret exclude each other"}},
		"no S3 secret":            {bucket("--s3-secret", "absent", "--s3-endpoint", server.URL), 2, []string{"--s3-secret: there is no secret absent in namespace " + collectorNamespace, "hint: "}},
		"endpoint of another kind": {bucket(append(keys, "--s3-endpoint", "ftp://store.example")...), 2,
			[]string{"--s3-endpoint is not the URL of a server", "hint: write https://HOST:PORT"}},
		"endpoint without scheme": {bucket(append(keys, "--s3-endpoint", "store.example:9000")...), 2,
			[]string{"--s3-endpoint is not the URL of a server", "hint: write https://HOST:PORT"}},
		"endpoint with a secret": {bucket(append(keys, "--s3-endpoint", "https://"+id+":"+secret+"@store.example")...), 2,
			[]string{"--s3-endpoint is not the URL of a server", "hint: write https://HOST:PORT"}},
		"no region":      {bucket(keys...), 2, []string{"the region of the S3 bucket is not known", "hint: pass --s3-region, or --s3-endpoint"}},
		"no credentials": {bucket("--s3-endpoint", server.URL), 2, []string{"there are no credentials for the S3 bucket", "hint: pass --s3-secret NAME"}},
	}
}

func wrongDirectories(pending string) map[string]mistake {
	host := func(path string, more ...string) []string { return append([]string{"--host-path", path}, more...) }
	return map[string]mistake{
		"host path absolute":      {host("/tmp/x"), 2, []string{`--host-path "/tmp/x" is absolute`, "hint: it is a path below --host-path-base-dir /var/log/retina/captures"}},
		"host path up":            {host("../x"), 2, []string{`--host-path "../x" leaves --host-path-base-dir`}},
		"host path up in it":      {host("a/../../x"), 2, []string{"leaves --host-path-base-dir"}},
		"host path empty":         {host(""), 2, []string{"--host-path is empty", "hint: --host-path . is --host-path-base-dir itself"}},
		"base relative":           {host("x", "--host-path-base-dir", "var/log"), 2, []string{`--host-path-base-dir "var/log" is not an absolute directory below /`}},
		"base is the root":        {host("x", "--host-path-base-dir", "/var/.."), 2, []string{`--host-path-base-dir "/var/.." is not an absolute directory below /`}},
		"base without host path":  {[]string{"--host-path-base-dir", "/var/log/x"}, 2, []string{"--host-path-base-dir needs --host-path", "hint: "}},
		"keep without host path":  {[]string{"--host-path-keep", "2"}, 2, []string{"--host-path-keep needs --host-path"}},
		"keep negative":           {host("x", "--host-path-keep", "-1"), 2, []string{"--host-path-keep -1 is not between 0 and"}},
		"claim absent":            {[]string{"--pvc", "absent"}, 2, []string{"--pvc: there is no claim absent in namespace " + collectorNamespace, "hint: the namespace is that of --collector-namespace"}},
		"claim not bound":         {[]string{"--pvc", pending}, 2, []string{"--pvc: claim " + collectorNamespace + "/" + pending + " is not bound", "hint: "}},
		"claim empty":             {[]string{"--pvc", ""}, 2, []string{"--pvc is empty"}},
		"claim that cannot be so": {[]string{"--pvc", "a b"}, 2, []string{`--pvc "a b" cannot be the name of a claim`}},
	}
}

func wrongStored() map[string]mistake {
	stored := func(more ...string) []string { return append([]string{"--host-path", "x"}, more...) }
	return map[string]mistake{
		"files without a size":   {stored("--file-count", "3", "--max-size", "0"), 2, []string{"--file-count needs --max-size"}},
		"files without a place":  {[]string{"--file-count", "3"}, 2, []string{"--file-count is for captures that nodes store", "hint: add --no-wait or a destination"}},
		"files negative":         {stored("--file-count", "-1"), 2, []string{"--file-count -1 is not between 0 and 1000"}},
		"too many files":         {stored("--file-count", "1001"), 2, []string{"--file-count 1001 is not between 0 and 1000"}},
		"keep too short":         {stored("--keep", "30s"), 2, []string{"--keep 30s is not between 1m and"}},
		"keep too long":          {stored("--keep", "200h"), 2, []string{"--keep 200h0m0s is not between 1m and"}},
		"no wait and a file":     {[]string{"--no-wait", "--write", "x.pcapng"}, 2, []string{"--no-wait and --write exclude each other", "hint: later: kubectl retina capture download NAME"}},
		"no wait without an end": {[]string{"--no-wait", "--duration", "0", "--max-size", "0"}, 2, []string{"--no-wait without an end", "hint: give one of them"}},
		"name with capitals":     {stored("--name", "Mine"), 2, []string{`--name: "Mine" cannot be the name of a capture`, "hint: use lower-case letters, digits and dashes"}},
		"name too long":          {stored("--name", strings.Repeat("a", 49)), 2, []string{"is longer than 48 characters"}},
		"name taken":             {stored("--name", "taken"), 1, []string{"taken", "hint: "}},
		"more nodes":             {stored("--max-nodes", "1"), 2, []string{"2 nodes are more than --max-nodes 1", "hint: to go on without being asked: --max-nodes 2"}},
		"max nodes negative":     {stored("--max-nodes", "-1"), 2, []string{"--max-nodes -1 is negative"}},
	}
}
