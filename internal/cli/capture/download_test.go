package capture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/store"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// testDownload is a download of the capture web into a directory of its own.
func testDownload(t *testing.T) (*download, *bytes.Buffer) {
	t.Helper()
	streams, _, _, stderr := genericiooptions.NewTestIOStreams()
	o := &downloadOptions{existing: newExisting(kube.NewFlags(), streams), dir: t.TempDir(), raw: true}
	o.cluster = &kube.Cluster{Client: fake.NewSimpleClientset(), Namespace: "netops"}
	d := &download{downloadOptions: o, name: "web", narrator: newNarrator(stderr, true)}
	o.helpers.open(&o.existing, func(string) {})
	return d, stderr
}

// A memoryOrigin has an archive in memory, and gives so much of it at once.
type memoryOrigin struct {
	content string
	most    int // 0: all
	asked   *int
}

func (o memoryOrigin) where() string { return "memory" }

func (o memoryOrigin) fetch(_ context.Context, a *fetchedArchive, moved func(int64)) (wire.Fetched, error) {
	*o.asked++
	rest := o.content[a.bytes:]
	if o.most > 0 && len(rest) > o.most {
		if err := a.write([]byte(rest[:o.most])); err != nil {
			return wire.Fetched{}, err
		}
		return wire.Fetched{}, errors.New("cut")
	}
	if err := a.write([]byte(rest)); err != nil {
		return wire.Fetched{}, err
	}
	moved(a.bytes)
	sum := sha256.Sum256([]byte(o.content))
	return wire.Fetched{Bytes: int64(len(o.content)), SHA256: hex.EncodeToString(sum[:])}, nil
}

const webN1, webN2 = "web-n1-20261122T160000Z.tar.gz", "web-n2-20261122T160000Z.tar.gz"

func TestADownloadGoesOnWhereItWasCut(t *testing.T) {
	d, stderr := testDownload(t)
	asked := 0
	var w *wanted
	again := func() {
		t.Helper()
		w = &wanted{node: "n1", file: webN1, ours: certain, origins: []origin{memoryOrigin{"all of it", 4, &asked}}}
		d.archives = []*wanted{w}
		if err := d.fetchAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if again(); w.path != "" {
			t.Fatalf("path %q", w.path)
		}
	}
	if want := "error: " + webN1 + ": memory: cut\n"; stderr.String() != want+want {
		t.Errorf("stderr %q", stderr)
	}
	if again(); w.path != filepath.Join(d.dir, webN1) {
		t.Fatalf("path %q, %v", w.path, w.err)
	}
	if content, err := os.ReadFile(w.path); err != nil || string(content) != "all of it" {
		t.Errorf("%q, %v", content, err)
	}
	if again(); w.path == "" || asked != 3 {
		t.Errorf("what is here is asked for again: %d times, %v", asked, w.err)
	}
}

func TestRawGoesOnWithWhatWasToBeMerged(t *testing.T) {
	d, _ := testDownload(t)
	if err := os.Mkdir(d.merging(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.merging(), webN1+partialSuffix), []byte("all "), 0o600); err != nil {
		t.Fatal(err)
	}
	asked := 0
	w := &wanted{node: "n1", file: webN1, ours: certain, origins: []origin{memoryOrigin{"all of it", 5, &asked}}}
	if path, err := d.fetch(t.Context(), w); err != nil || path != filepath.Join(d.dir, webN1) {
		t.Errorf("%q, %v", path, err)
	}
	if _, err := os.Stat(d.merging()); err == nil {
		t.Error("an empty directory was left")
	}
}

func TestTheNextOriginIsTried(t *testing.T) {
	d, stderr := testDownload(t)
	first, second := 0, 0
	d.archives = []*wanted{
		{node: "n1", file: webN1, origins: []origin{memoryOrigin{"content", 1, &first}, memoryOrigin{"content", 0, &second}}, ours: certain},
		{node: "n2", file: webN2, err: hint.Wrap(errors.New("node n2: evicted"), "nothing helps"), ours: certain},
	}
	if err := d.fetchAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if saved := d.saved(); len(saved) != 1 || saved[0].node != "n1" || first != 1 || second != 1 {
		t.Errorf("saved %d, asked %d and %d times", len(saved), first, second)
	}
	if want := "error: node n2: evicted\nhint: nothing helps\n"; stderr.String() != want {
		t.Errorf("stderr %q, want %q", stderr, want)
	}
}

func TestDamageIsNoticed(t *testing.T) {
	d, _ := testDownload(t)
	asked := 0
	if err := os.WriteFile(filepath.Join(d.dir, webN1+partialSuffix), []byte("spoilt"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &wanted{node: "n1", file: webN1, origins: []origin{memoryOrigin{"whole content", 0, &asked}}, ours: certain}
	if path, err := d.fetch(t.Context(), w); err == nil {
		t.Fatalf("%s with a beginning that is not its own", path)
	}
	if path, err := d.fetch(t.Context(), w); err != nil {
		t.Fatalf("%s, %v: the damaged file is still gone on with", path, err)
	}
}

// A fakeStore has archives, by name.
type fakeStore struct {
	store.Store
	where   string
	objects map[string]string
}

func (s fakeStore) Where() string              { return s.where }
func (s fakeStore) Name(archive string) string { return "path/" + archive }

func (s fakeStore) List(_ context.Context, prefix string) ([]store.Object, error) {
	var all []store.Object
	for name, content := range s.objects {
		if strings.HasPrefix(strings.TrimPrefix(name, "path/"), prefix) {
			all = append(all, store.Object{Name: name, Bytes: int64(len(content))})
		}
	}
	slices.SortFunc(all, func(a, b store.Object) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (s fakeStore) Stat(_ context.Context, name string) (store.Object, error) {
	content, ok := s.objects[name]
	if !ok {
		return store.Object{}, fmt.Errorf("%s: 404", name)
	}
	return store.Object{Name: name, Bytes: int64(len(content))}, nil
}

func (s fakeStore) Open(_ context.Context, name string, offset int64) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(s.objects[name][offset:])), nil
}

func TestFromAStore(t *testing.T) {
	d, _ := testDownload(t)
	s := fakeStore{where: "blob u", objects: map[string]string{"path/" + webN1: "content"}}
	if err := os.WriteFile(filepath.Join(d.dir, webN1+partialSuffix), []byte("cont"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &wanted{node: "n1", file: webN1, origins: []origin{storeOrigin{store: s, name: "path/" + webN1}}, ours: certain}
	path, err := d.fetch(t.Context(), w)
	if err != nil || w.moved.Load() != 7 {
		t.Fatalf("%v after %d bytes", err, w.moved.Load())
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "content" {
		t.Errorf("%q, %v", content, err)
	}
}

func TestOriginsOfANode(t *testing.T) {
	archive := strings.TrimSuffix(webN1, ".tar.gz")
	blob := fakeStore{where: "blob https://a/c"}
	host := inventory.Store{Where: "host path /var/log/x/sub", Name: "sub/" + webN1, Bytes: 5, Done: true}
	tests := []struct {
		name string
		node inventory.Node
		want []string // places, or the beginning of the error
	}{
		{"kept", inventory.Node{Status: inventory.Kept}, []string{"the collector on node n1"}},
		{"kept, and stored at one of two", inventory.Node{Status: inventory.Kept, Stores: []inventory.Store{{Where: blob.where, Done: true}, {Where: "s3 b", Error: "403"}}}, []string{"the collector on node n1", blob.where}},
		{"disk", inventory.Node{Status: inventory.Done, Storage: &session.Storage{HostDir: "/var/log/x"}, Stores: []inventory.Store{host}}, []string{host.Where + " of node n1"}},
		{"a disk that is not mounted", inventory.Node{Status: inventory.Done, Storage: &session.Storage{}, Stores: []inventory.Store{host}}, []string{blob.where}},
		{"volume", inventory.Node{Status: inventory.Done, Storage: &session.Storage{PVC: "v"}, Stores: []inventory.Store{{Where: "pvc v", Name: webN1, Done: true}}}, []string{"pvc v"}},
		{"failed, but where the flags say", inventory.Node{Status: inventory.Failed, Reason: "boom"}, []string{blob.where}},
		{"another name", inventory.Node{Status: inventory.Kept, Archive: "../../etc/passwd", Reason: "boom"}, []string{"error: node n1: boom"}},
		{"of another capture", inventory.Node{Status: inventory.Kept, Archive: "api-n1-20261122T160000Z"}, []string{"error: node n1: the collector has left no word"}},
	}
	for _, test := range tests {
		d, _ := testDownload(t)
		n := test.node
		n.Name = "n1"
		if n.Archive == "" {
			n.Archive = archive
		}
		w := d.wantedOf(&inventory.Capture{Name: "web"}, &n, nil, []store.Store{blob})
		var got []string
		for _, o := range w.origins {
			got = append(got, o.where())
		}
		if w.err != nil {
			got = append(got, "error: "+w.err.Error())
		}
		if !slices.EqualFunc(got, test.want, strings.HasPrefix) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if (w.keeper != nil) != (n.Status == inventory.Kept && w.err == nil) {
			t.Errorf("%s: the collector is released: %t", test.name, w.keeper != nil)
		}
	}
}

func TestCredentialsThatAreMissing(t *testing.T) {
	d, _ := testDownload(t)
	n := inventory.Node{Name: "n1", Status: inventory.Done, Archive: strings.TrimSuffix(webN1, ".tar.gz"), Stores: []inventory.Store{{Where: "s3 b at https://x", Done: true}}}
	w := d.wantedOf(&inventory.Capture{Name: "web"}, &n, nil, nil)
	if w.err == nil || !strings.Contains(w.err.Error(), "s3 b at https://x") || !strings.Contains(hint.Of(w.err), "--s3-bucket") {
		t.Errorf("%v (%s)", w.err, hint.Of(w.err))
	}
	n.Stores = nil
	if w := d.wantedOf(&inventory.Capture{Name: "web"}, &n, nil, nil); w.err == nil || !strings.Contains(w.err.Error(), "downloaded before") {
		t.Errorf("%v", w.err)
	}
}

func TestArchivesOfACaptureThatIsGone(t *testing.T) {
	d, stderr := testDownload(t)
	d.known = []string{"n1", "n2"}
	s := fakeStore{where: "blob u", objects: map[string]string{}}
	for _, file := range []string{
		webN1, webN2, "web-n1-20261121T160000Z.tar.gz", "web-2-n1-20261123T160000Z.tar.gz", "web-old-20261122T160000Z.tar.gz", "other-n1-20261122T160000Z.tar.gz", "web-n1.tar.gz",
	} {
		s.objects["path/"+file] = "not an archive inside"
	}
	if err := d.planStore(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	d.leaveDoubtful()
	if err := d.chooseTime(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range d.archives {
		got = append(got, w.node+" "+w.file)
	}
	if want := []string{"n1 " + webN1, "n2 " + webN2}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if !strings.Contains(stderr.String(), "20261121T160000Z: taking the youngest, 20261122T160000Z") {
		t.Errorf("stderr %q", stderr)
	}
	d.time = "20200101T000000Z"
	if err := d.chooseTime(); err == nil || hint.Of(err) != "there are: 20261122T160000Z" {
		t.Errorf("%v (%s)", err, hint.Of(err))
	}
}

func TestBusyNodes(t *testing.T) {
	d, _ := testDownload(t)
	nodes := func(states ...inventory.State) *inventory.Capture {
		c := &inventory.Capture{Name: "web"}
		for i, state := range states {
			c.Nodes = append(c.Nodes, inventory.Node{Name: fmt.Sprint("n", i+1), Status: state})
		}
		return c
	}
	if busy, err := d.busy(nodes(inventory.Done, inventory.Kept, inventory.Failed)); err != nil || len(busy) > 0 {
		t.Errorf("%v, %v", busy, err)
	}
	if busy, err := d.busy(nodes(inventory.Done, inventory.Uploading)); err != nil || !slices.Equal(busy, []string{"n2"}) {
		t.Errorf("%v, %v", busy, err)
	}
	for _, state := range []inventory.State{inventory.Starting, inventory.Capturing, inventory.Running} {
		if _, err := d.busy(nodes(inventory.Done, state)); err == nil {
			t.Errorf("%s can be downloaded", state)
		}
		d.nodes = []string{"n1"}
		if _, err := d.busy(nodes(inventory.Done, state)); err != nil {
			t.Errorf("%s matters on a node that is not asked for: %v", state, err)
		}
		d.nodes = nil
	}
}

func TestTheMergedFileIsNotOverwritten(t *testing.T) {
	d, _ := testDownload(t)
	d.raw = false
	if err := os.WriteFile(filepath.Join(d.dir, "web.pcapng"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.openOutput(t.Context()); err == nil || exit.Code(err) != exit.Failed {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(d.staging()); err == nil {
		t.Error("a directory was left")
	}
	if err := os.Mkdir(d.staging(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := d.openOutput(t.Context()); err != nil { // it was an earlier download's
		t.Errorf("resumed: %v", err)
	}
	if err := d.discard(); err != nil {
		t.Error(err)
	}
}
