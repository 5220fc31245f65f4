package capture

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
)

func listedAt() time.Time { return time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC) }

// someCaptures are one of each kind.
func someCaptures() []inventory.Capture {
	later := func(d time.Duration) *time.Time { return new(listedAt().Add(d)) }
	node := func(name string, state inventory.State) inventory.Node {
		return inventory.Node{Name: name, Status: state}
	}
	return []inventory.Capture{
		{
			Name: "web-7k2xq", Namespace: "netops", Run: "r1", Mode: inventory.ModeDetached, Status: inventory.Capturing, Targets: "deployment shop/web",
			Destinations: []string{"blob https://a.blob.core.windows.net/c", "host path /var/log/retina/captures"}, Pods: 3,
			Counts: &inventory.Counts{Packets: 12345, Bytes: 1 << 20, Lost: 7}, Bytes: 3_400_000, CreatedAt: listedAt().Add(-90 * time.Second), ExpiresAt: later(time.Hour),
			Nodes: []inventory.Node{node("n1", inventory.Capturing), node("n2", inventory.Capturing), node("n3", inventory.Capturing), node("n4", inventory.Capturing)},
		},
		{
			Name: "api", Namespace: "netops", Run: "r2", Mode: inventory.ModeStream, Status: inventory.Starting, Pods: 1,
			CreatedAt: listedAt().Add(-time.Second), Nodes: []inventory.Node{node("n1", inventory.Starting)},
		},
		{
			Name: "db", Namespace: "shop", Run: "r3", Mode: inventory.ModeStore, Status: inventory.Failed, Reason: "node n2: " + strings.Repeat("very ", 20) + "long",
			Destinations: []string{"s3 bucket/path"}, Counts: &inventory.Counts{}, CreatedAt: listedAt().Add(-3 * time.Hour),
			Nodes: []inventory.Node{node("n1", inventory.Done), node("n2", inventory.Failed)},
		},
		{
			Name: "kept", Namespace: "shop", Run: "r4", Mode: inventory.ModeDetached, Status: inventory.Kept, Counts: &inventory.Counts{Packets: 1}, Bytes: 100,
			CreatedAt: listedAt().Add(-10 * time.Minute), ExpiresAt: later(2 * time.Hour), KeptUntil: later(20 * time.Minute), Nodes: []inventory.Node{node("n1", inventory.Kept)},
		},
	}
}

func TestTable(t *testing.T) {
	const narrow = `NAME        STATUS                                             NODES   PODS   PACKETS   SIZE     DESTINATION      AGE   LEFT
web-7k2xq   Capturing                                          4       3      12,345    3.4 MB   blob,host path   90s   60m
api         Starting                                           1       1      -         -        stream           1s    -
db          Failed: node n2: very very very very very very …   1/2     0      0         -        s3               3h    -
kept        Kept                                               1       0      1         100 B    none             10m   20m
`
	const wide = `netops   web-7k2xq   Capturing   4     3     12,345   3.4 MB   blob https://a.blob.core.windows.net/c,host path /var/log/retina/captures   90s   60m   7     detached   deployment shop/web   n1,n2,n3,(1 more)
`
	for _, test := range []struct {
		name  string
		table captureTable
		rows  []inventory.Capture
		want  string
	}{
		{"narrow", captureTable{headers: true}, someCaptures(), narrow},
		{"wide, one row", captureTable{wide: true, namespaces: true}, someCaptures()[:1], wide},
	} {
		var out bytes.Buffer
		test.table.out, test.table.now = &out, listedAt
		if err := test.table.print(test.table.rows(test.rows)); err != nil {
			t.Fatal(err)
		}
		if out.String() != test.want {
			t.Errorf("%s:\n%swant:\n%s", test.name, out.String(), test.want)
		}
	}
}

func testList(output string) (*listOptions, *bytes.Buffer, *bytes.Buffer) {
	streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
	o := &listOptions{existing: newExisting(kube.NewFlags(), streams), output: output}
	o.now, o.cluster = listedAt, &kube.Cluster{Namespace: "netops"}
	return o, stdout, stderr
}

func TestListOutputs(t *testing.T) {
	for _, test := range []struct {
		output   string
		captures []inventory.Capture
		single   bool
		out, err string // how they begin
	}{
		{"", nil, false, "", "No captures found in namespace netops.\n"},
		{"name", someCaptures(), false, "capture/web-7k2xq\ncapture/api\ncapture/db\ncapture/kept\n", ""},
		{"json", nil, false, "{\n  \"apiVersion\": \"retina.sh/v1alpha1\",\n  \"kind\": \"CaptureList\",\n  \"items\": []\n}\n", ""},
		{"json", someCaptures()[3:], true, "{\n  \"apiVersion\": \"\",\n  \"kind\": \"\",\n  \"name\": \"kept\",", ""},
		{"yaml", nil, false, "apiVersion: retina.sh/v1alpha1\nitems: []\nkind: CaptureList\n", ""},
	} {
		o, stdout, stderr := testList(test.output)
		list := &inventory.CaptureList{APIVersion: inventory.APIVersion, Kind: inventory.ListKind, Items: append([]inventory.Capture{}, test.captures...)}
		if err := o.print(list, test.single); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(stdout.String(), test.out) || test.out == "" && stdout.Len() > 0 || stderr.String() != test.err {
			t.Errorf("-o %s: stdout %q, stderr %q", test.output, stdout, stderr)
		}
	}
}

func TestWatchPrintsWhatChanges(t *testing.T) {
	o, stdout, _ := testList("")
	table, shown := o.newTable(), map[string]inventory.Capture{}
	captures := someCaptures()[:2]
	look := func() string {
		t.Helper()
		stdout.Reset()
		list := &inventory.CaptureList{Items: append([]inventory.Capture{}, captures...)}
		if err := o.printChanged(table, o.changes(table, shown, list)); err != nil {
			t.Fatal(err)
		}
		return stdout.String()
	}
	first := look()
	if strings.Count(first, "\n") != 3 || !strings.HasPrefix(first, "NAME ") {
		t.Errorf("at first:\n%s", first)
	}
	o.now = func() time.Time { return listedAt().Add(time.Hour) }
	table.now = o.now
	if again := look(); again != "" {
		t.Errorf("time alone is a change:\n%s", again)
	}
	captures[1].Status = inventory.Capturing
	if changed := look(); !strings.HasPrefix(changed, "api         Capturing   ") || strings.Count(changed, "\n") != 1 {
		t.Errorf("a change, in the columns of before:\n%s", changed)
	}
	captures = captures[:1]
	if gone := look(); !strings.HasPrefix(gone, "api         Deleted     ") || strings.Count(gone, "\n") != 1 {
		t.Errorf("one is gone:\n%s", gone)
	}
	if again := look(); again != "" {
		t.Errorf("gone again:\n%s", again)
	}
}

func TestListMistakes(t *testing.T) {
	for _, o := range []listOptions{{output: "table"}, {allNamespaces: true}} {
		if _, err := o.complete([]string{"web"}); exit.Code(err) != exit.Usage {
			t.Errorf("%+v: %v", o, err)
		}
	}
	o := &listOptions{}
	if _, err := o.complete([]string{"a/b"}); exit.Code(err) != exit.Usage {
		t.Errorf("a name that is none: %v", err)
	}
	if names, err := o.complete([]string{"capture/web", "web", "api"}); err != nil || strings.Join(names, " ") != "web api" {
		t.Errorf("%q, %v", names, err)
	}
}
