package manifest

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func examples() []*Capture {
	return []*Capture{
		{
			Name: "everything", Namespace: "shop",
			Target: Target{
				Namespaces: &metav1.LabelSelector{},
				Pods: &metav1.LabelSelector{
					MatchLabels:      map[string]string{"app": "web"},
					MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpIn, Values: []string{"a", "b"}}},
				},
			},
			Duration: new(90 * time.Second), MaxCaptureSize: new(int64(0)), PacketSize: new(int64(96)), FileCount: new(int64(3)), IncludeMetadata: new(true),
			Filter: Filter{Interfaces: []string{"eth0"}, PcapFilter: "tcp", SourceIPs: []string{"10.0.0.1"}, DestinationIPs: []string{"fd00::1"}, Include: []string{"*:80"}, Exclude: []string{"10.0.0.1"}},
			Output: Output{HostPath: "x", Claim: "claim", BlobSecret: "sas", S3: &S3{Bucket: "b", Region: "r", Endpoint: "https://e", Path: "p", Secret: "keys"}},
		},
		{GenerateName: "web-", Target: Target{Arguments: []string{"deploy/web", "node/n1"}}, Filter: Filter{TcpdumpFilter: "udp"}},
		{Name: "nodes", Target: Target{Nodes: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/os": "linux"}}}},
		{Name: "pods", Target: Target{PodNames: []string{"web-1", "web-2"}}},
	}
}

func TestGolden(t *testing.T) {
	for file, encode := range map[string]func([]*Capture) ([]byte, error){"examples.yaml": YAML, "examples.json": JSON} {
		got, err := encode(examples())
		if err != nil {
			t.Fatal(err)
		}
		path := "testdata/" + file
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (UPDATE_GOLDEN=1 accepts it):\n%s", path, diff)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for name, encode := range map[string]func([]*Capture) ([]byte, error){"YAML": YAML, "JSON": JSON} {
		text, err := encode(examples())
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := Parse("f", text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, c := range parsed.Captures {
			c.Origin = ""
		}
		if diff := cmp.Diff(examples(), parsed.Captures); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// One capture is no List.
func TestJSONOfOne(t *testing.T) {
	text, err := JSON(examples()[3:])
	if err != nil || !strings.Contains(string(text), `"kind": "Capture"`) || strings.Contains(string(text), `"List"`) {
		t.Errorf("%v: %s", err, text)
	}
}

// Whatever Parse accepts, it accepts again when it is written down, as the same.
func FuzzParse(f *testing.F) {
	for _, file := range []string{"every-field.yaml", "examples.yaml", "examples.json"} {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("{apiVersion: v1, kind: List, items: [null, {apiVersion: v1, kind: Secret, metadata: 1}]}"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, err := Parse("f", text)
		if err != nil {
			return
		}
		again, err := YAML(parsed.Captures)
		if err != nil {
			t.Fatal(err)
		}
		second, err := Parse("f", again)
		if err != nil {
			t.Fatalf("%v:\n%s", err, again)
		}
		for i, c := range parsed.Captures {
			c.Origin, c.Ignored, second.Captures[i].Origin = "", nil, ""
		}
		text2, err := YAML(second.Captures)
		if err != nil || string(again) != string(text2) {
			t.Errorf("%v: first\n%s\nthen\n%s", err, again, text2)
		}
	})
}
