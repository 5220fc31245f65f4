//go:build linux && !unit

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/storage"
)

// store runs capture create with the collectors in their namespace and no file here.
func store(t testing.TB, args ...string) result {
	t.Helper()
	return retina(t, append([]string{"capture", "create", "--collector-namespace", collectorNamespace}, args...)...)
}

// storedSummary is the part of -o json that is about archives.
type storedSummary struct {
	Name     string
	Packets  uint64
	Lost     uint64
	Complete bool
	Files    []string
	Archives []struct {
		Node, Where, Name, SHA256, Error string
		Bytes                            int64
	}
}

func parseStored(t testing.TB, text string) storedSummary {
	t.Helper()
	var s storedSummary
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return s
}

// The case that this project began with.
func TestSeedUsersCase(t *testing.T) {
	shop := openShop(t, "team: seed")
	kubectl(t, "label", "pod", "-n", shop.namespace, "web-n1", "web-n2", "org=retina")
	container := azurite(t).Container(t, "captures")
	sas := container.SAS(t, storage.SAS{Permissions: "cw"})
	p := start(t, "capture", "create", "--collector-namespace", collectorNamespace, "--name", "capture", "--blob-upload", sas, "--insecure-blob",
		"--namespace-selectors", "team=seed", "--pod-selectors", "org=retina", "--duration", "4s")
	p.waitFor(t, "capturing")
	shop.get(t, shop.client["n1"], shop.web["n1"], "/seed", 5)
	shop.get(t, shop.client["n1"], shop.web["n2"], "/seed", 5)
	r := p.wait(t)
	r.wantCode(t, 0)

	objects := container.Objects(t)
	if len(objects) != 2 {
		t.Fatalf("%d blobs: %v\n%s", len(objects), objects, r)
	}
	for i, node := range []string{"n1", "n2"} {
		if name := objects[i].Name; !strings.HasPrefix(name, "capture-"+node+"-") || !strings.Contains(r.stderr, name) {
			t.Errorf("blob %s is not of %s, or was not told:\n%s", name, node, r.stderr)
		}
		a := openArchive(t, container.Download(t, objects[i].Name))
		if got := len(rows(t, a.packets()[0], `http.request.uri == "/seed"`, "frame.number")); got != 5 {
			t.Errorf("%d of 5 requests are in the archive of %s", got, node)
		}
		for _, want := range []string{"metadata/before/node/routes.txt", "metadata/after/node/sockets.txt", "metadata/before/pod-" + shop.namespace + "-web-" + node + "/addresses.txt", "cluster/before/pods.yaml", "cluster/after/endpointslices.yaml"} {
			if !slices.Contains(a.names, want) {
				t.Errorf("no %s in the archive of %s: %q", want, node, a.names)
			}
		}
		if web := shop.web[node]; !strings.Contains(a.text(t, "metadata/before/pod-"+shop.namespace+"-web-"+node+"/addresses.txt"), web.Status.PodIP) {
			t.Errorf("the pod's address %s is not among its addresses", web.Status.PodIP)
		}
		if a.record.Reason != "duration" || a.record.Lost != 0 {
			t.Errorf("record %+v", a.record)
		}
	}
	wantNothingLeft(t)
}

// Every destination in one run, with every secret looked for everywhere.
func TestEveryDestinationAndNoSecretShows(t *testing.T) {
	shop := openShop(t, "")
	container := azurite(t).Container(t, "everything")
	sas := container.SAS(t, storage.SAS{Permissions: "cw"})
	server := s3Server(t)
	bucket := server.Bucket(t, "everything")
	claim := storage.StartClaim(t, the.Cluster, the.client, collectorNamespace, "captures")
	hostPath := "every/" + uniqueName(t)
	secrets := secretsOf(t, sas, server.Root.AccessKeyID, server.Root.SecretAccessKey)
	spying := startSpy(t, secrets)

	here := filepath.Join(t.TempDir(), "here.pcapng")
	p := start(t, "capture", "create", "--collector-namespace", collectorNamespace, "-n", shop.namespace, "svc/web", "--name", "everything", "--duration", "4s",
		"--blob-upload-file", secretFile(t, sas), "--insecure-blob", "--pvc", claim.Name, "--host-path", hostPath, "--write", here, "-o", "json",
		"--s3-bucket", bucket.Name, "--s3-endpoint", server.URL, "--s3-region", storage.S3Region, "--s3-path", "some/where",
		"--s3-secret", s3Secret(t, server.Root))
	p.waitFor(t, "capturing")
	shop.get(t, shop.client["n1"], shop.web["n1"], "/every", 5)
	shop.get(t, shop.client["n1"], shop.web["n2"], "/every", 5)
	r := p.wait(t)
	r.wantCode(t, 0)
	spying.stop(t)
	secrets.absent(t, "standard output and error", r.stdout+r.stderr)

	s := parseStored(t, r.stdout)
	if len(s.Archives) != 8 || s.Lost != 0 || !s.Complete || s.Packets == 0 {
		t.Errorf("summary %+v", s)
	}
	sums := map[string]string{} // by node
	for _, a := range s.Archives {
		if a.Error != "" || a.Bytes == 0 || sums[a.Node] != "" && sums[a.Node] != a.SHA256 {
			t.Errorf("archive %+v, others of the node have checksum %s", a, sums[a.Node])
		}
		sums[a.Node] = a.SHA256
	}
	var files []string
	for _, o := range container.Objects(t) {
		files = append(files, container.Download(t, o.Name))
	}
	for _, o := range bucket.Objects(t) {
		if !strings.HasPrefix(o.Name, "some/where/everything-n") {
			t.Errorf("key %s", o.Name)
		}
		files = append(files, bucket.Download(t, o.Name))
	}
	stored, err := filepath.Glob(claim.Dir + "/everything-*.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, stored...)
	for _, node := range []string{"n1", "n2"} {
		files = append(files, fromNode(t, node, "/var/log/retina/captures/"+hostPath)...)
	}
	if len(files) != 8 {
		t.Fatalf("%d archives: %q", len(files), files)
	}
	for _, file := range files {
		a := openArchive(t, file)
		if got := len(rows(t, a.packets()[0], `http.request.uri == "/every"`, "frame.number")); got != 5 {
			t.Errorf("%d of 5 requests are in %s", got, file)
		}
		for _, name := range a.names {
			secrets.absent(t, file+" "+name, a.text(t, name))
		}
	}
	if got := len(rows(t, here, `http.request.uri == "/every"`, "frame.number")); got != 10 {
		t.Errorf("%d of 10 requests are in the merged file", got)
	}
	wantNothingLeft(t)
}

// secretFile writes a secret to a file that only its owner reads.
func secretFile(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// s3Secret makes a Secret as Retina's users have them, which is not ours.
func s3Secret(t testing.TB, c storage.Credentials) string {
	t.Helper()
	name := uniqueName(t.(*testing.T))
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: collectorNamespace}, StringData: map[string]string{
		"s3-access-key-id": c.AccessKeyID, "s3-secret-access-key": c.SecretAccessKey,
	}}
	if _, err := the.client.CoreV1().Secrets(collectorNamespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := the.client.CoreV1().Secrets(collectorNamespace).Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return name
}

// fromNode copies the archives of a node's directory to this machine.
func fromNode(t testing.TB, node, dir string) []string {
	t.Helper()
	var files []string
	for _, name := range strings.Fields(onNode(t, node, "ls", dir)) {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(onNode(t, node, "cat", dir+"/"+name)), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// secrets are texts that must not show, in all the ways that they can be written.
type secrets []string

func secretsOf(t testing.TB, sas string, others ...string) secrets {
	t.Helper()
	u, err := url.Parse(sas)
	if err != nil {
		t.Fatal(err)
	}
	signature := u.Query().Get("sig")
	if signature == "" {
		t.Fatalf("no signature in the SAS")
	}
	var all secrets
	for _, s := range append(others, signature) {
		all = append(all, s, url.QueryEscape(s), base64.StdEncoding.EncodeToString([]byte(s)))
	}
	return all
}

// absent fails the test when one of the secrets is in text.
func (s secrets) absent(t testing.TB, where, text string) {
	t.Helper()
	for _, secret := range s {
		if strings.Contains(text, secret) {
			t.Errorf("a secret shows in %s", where)
		}
	}
}

// A spy looks at everything that the cluster and its nodes show, again and again.
type spy struct {
	secrets secrets
	client  dynamic.Interface
	cancel  context.CancelFunc
	done    chan struct{}
	looks   int
	pods    map[string]bool // collectors whose logs and processes were seen
}

// startSpy watches until it is stopped. The Secrets of the collector namespace
// that the test has made itself are not looked at.
func startSpy(t *testing.T, s secrets) *spy {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", the.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	config.Dial, config.QPS, config.Burst = the.Dial, 200, 400
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	spy := &spy{secrets: s, client: client, cancel: cancel, done: make(chan struct{}), pods: map[string]bool{}}
	go func() {
		defer close(spy.done)
		for ctx.Err() == nil {
			spy.look(ctx, t)
		}
	}()
	return spy
}

func (s *spy) stop(t *testing.T) {
	t.Helper()
	time.Sleep(time.Second) // part of the case: events come a little later
	s.look(t.Context(), t)
	s.cancel()
	<-s.done
	if s.looks < 3 || len(s.pods) < 2 {
		t.Errorf("looked %d times and saw the collectors %v: that proves nothing", s.looks, s.pods)
	}
	t.Logf("looked %d times, at collectors %v", s.looks, s.pods)
}

func (s *spy) look(ctx context.Context, t *testing.T) {
	for _, r := range []schema.GroupVersionResource{
		{Version: "v1", Resource: "pods"}, {Group: "batch", Version: "v1", Resource: "jobs"}, {Version: "v1", Resource: "events"},
		{Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "persistentvolumeclaims"},
		{Group: "events.k8s.io", Version: "v1", Resource: "events"},
	} {
		list, err := s.client.Resource(r).List(ctx, metav1.ListOptions{})
		if err != nil {
			continue // it has been stopped
		}
		text, err := list.MarshalJSON() // with managed fields
		if err == nil {
			s.secrets.absent(t, "the API's "+r.Resource, string(text))
		}
	}
	ours, err := the.client.CoreV1().Secrets("").List(ctx, metav1.ListOptions{LabelSelector: ours})
	if err == nil && len(ours.Items) > 0 {
		t.Errorf("there are secrets of ours: %v", ours.Items[0].Name)
	}
	s.lookAtNodes(t)
	s.lookAtLogs(ctx, t)
	s.looks++
}

// lookAtNodes reads the arguments and the environment of every process there.
func (s *spy) lookAtNodes(t *testing.T) {
	for _, procfs := range nodeProcs() {
		files, err := filepath.Glob(procfs + "/[0-9]*/cmdline")
		if err != nil {
			t.Error(err)
		}
		for _, file := range files {
			for _, one := range []string{file, filepath.Join(filepath.Dir(file), "environ")} {
				if text, err := os.ReadFile(one); err == nil {
					s.secrets.absent(t, one, string(text))
				}
			}
		}
	}
}

func (s *spy) lookAtLogs(ctx context.Context, t *testing.T) {
	pods, err := the.client.CoreV1().Pods(collectorNamespace).List(ctx, metav1.ListOptions{LabelSelector: ours})
	if err != nil {
		return
	}
	for i := range pods.Items {
		name := pods.Items[i].Name
		text, err := the.client.CoreV1().Pods(collectorNamespace).GetLogs(name, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil {
			continue // not running yet, or gone
		}
		if len(text) > 0 {
			s.pods[name] = true
		}
		s.secrets.absent(t, "the log of "+name, string(text))
	}
}
