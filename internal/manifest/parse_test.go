package manifest

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// one is a manifest with the fields of captureConfiguration and, below them,
// of spec.
func one(configuration, more string) string {
	return "apiVersion: retina.sh/v1alpha1\nkind: Capture\nmetadata: {name: web}\nspec:\n  captureConfiguration: {" + configuration + "}\n" + more
}

const onWeb = `captureTarget: {podNames: [web-1]}`

// option is a manifest with the fields of captureOption.
func option(fields string) string { return one(onWeb+", captureOption: {"+fields+"}", "") }

func TestEveryField(t *testing.T) {
	text, err := os.ReadFile("testdata/every-field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := Parse("every-field.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	want := &Capture{
		Origin: "every-field.yaml, document 1", Name: "everything", Namespace: "shop",
		Target: Target{
			Namespaces: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "shop"}},
			Pods: &metav1.LabelSelector{
				MatchLabels: map[string]string{"app": "web"},
				MatchExpressions: []metav1.LabelSelectorRequirement{
					{Key: "tier", Operator: metav1.LabelSelectorOpIn, Values: []string{"front", "back"}},
					{Key: "stage", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"test"}},
					{Key: "team", Operator: metav1.LabelSelectorOpExists},
					{Key: "canary", Operator: metav1.LabelSelectorOpDoesNotExist},
				},
			},
		},
		Duration: new(90 * time.Second), MaxCaptureSize: new(int64(50)), PacketSize: new(int64(1500)), FileCount: new(int64(3)),
		IncludeMetadata: new(false),
		Filter: Filter{
			Interfaces: []string{"eth0", "eth1"}, PcapFilter: "tcp port 443", SourceIPs: []string{"10.0.0.1"}, DestinationIPs: []string{"10.0.0.2", "fd00::1"},
			Include: []string{"10.0.0.3:80", "*:443"}, Exclude: []string{"169.254.169.254"},
		},
		Output: Output{
			HostPath: "web/today", Claim: "captures", BlobSecret: "blob-sas",
			S3: &S3{Bucket: "retina-bucket", Region: "ap-northeast-2", Endpoint: "https://s3.example.com:9000", Path: "retina/captures", Secret: "s3-keys"},
		},
		Ignored: []string{
			"spec.captureConfiguration.captureOption.noPromiscuous", "spec.captureConfiguration.captureOption.packetBuffered",
			"spec.captureConfiguration.captureOption.immediateMode", "spec.captureConfiguration.captureOption.noResolveDNS",
			"spec.captureConfiguration.captureOption.noResolvePort", "spec.captureConfiguration.captureOption.printLinkHeader",
			"spec.captureConfiguration.captureOption.quietOutput", "spec.captureConfiguration.captureOption.absoluteSeq",
			"spec.captureConfiguration.captureOption.dontVerifyChecksum", "spec.captureConfiguration.captureOption.verbosity",
			"spec.captureConfiguration.captureOption.printDataFormat", "spec.captureConfiguration.captureOption.timestampFormat",
			"spec.cleanUpAfterUpload", "status",
		},
	}
	if diff := cmp.Diff([]*Capture{want}, parsed.Captures); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"every-field.yaml, document 2: Secret s3-keys is not created"}, parsed.Skipped); diff != "" {
		t.Error(diff)
	}
}

// The error of each mistake, word by word, and its hint.
func TestMistakes(t *testing.T) {
	const options = "spec.captureConfiguration.captureOption."
	tests := []struct{ name, text, want, hint string }{
		{"unknown field", option("durations: 10s"), options + "durations: unknown field, did you mean duration?", ""},
		{"case", option("packetsize: 10"), options + "packetsize: unknown field, did you mean packetSize?", ""},
		{"far from all fields", one(onWeb, "  zebra: 1\n"), "spec.zebra: unknown field", "there are: captureConfiguration, cleanUpAfterUpload, outputConfiguration"},
		{"unknown field of a selector", one("captureTarget: {podSelector: {matchLabel: {a: b}}}", ""), PathPods + ".matchLabel: unknown field, did you mean matchLabels?", ""},
		{"all mistakes at once", option("durations: 10s, fileCount: x"), options + "fileCount: must be a whole number, is text\n" + options + "durations: unknown field, did you mean duration?", ""},
		{"at the top", "apiVersion: retina.sh/v1alpha1\nkind: Capture\nmetadata: {name: a}\nspecs: {}\n", "specs: unknown field, did you mean spec?", ""},
		{"text for a number", option(`fileCount: "3"`), PathFileCount + ": must be a whole number, is text", ""},
		{"half a number", option(`packetSize: 1.5`), PathPacketSize + ": must be a whole number, is the number 1.5", ""},
		{"number for text", one("captureTarget: {podNames: [1]}", ""), PathPodNames + "[0]: must be text, is the number 1", "put it in quotes"},
		{"number for a label", one("captureTarget: {podSelector: {matchLabels: {a: 1}}}", ""), PathPods + ".matchLabels[a]: must be text, is the number 1", "put it in quotes"},
		{"text for a list", one("captureTarget: {podNames: web}", ""), PathPodNames + ": must be a list, is text", ""},
		{"list for a mapping", one("captureTarget: []", ""), pathTarget + ": must be a mapping, is a list", ""},
		{"text for a bool", option("quietOutput: maybe"), options + "quietOutput: must be true or false, is text", ""},
		{"nothing for text", one("captureTarget: {podNames: [null]}", ""), PathPodNames + "[0]: must be text, is nothing", ""},
		{"duration", option("duration: 10 minutes"), PathDuration + `: "10 minutes" is not a time`, "write 10s, 5m or 1h"},
		{"negative duration", option("duration: -10s"), PathDuration + `: "-10s" is not a time`, "write 10s, 5m or 1h"},
		{"number for duration", option("duration: 10"), PathDuration + ": must be text, is the number 10", "put it in quotes"},
		{"size", option("maxCaptureSize: -1"), PathMaxCaptureSize + ": -1 is less than 0", ""},
		{"file count", option("fileCount: 0"), PathFileCount + ": 0 is less than 1", ""},
		{"verbosity", option("verbosity: loud"), options + `verbosity: "loud" is not one of verbose, extra, max`, ""},
		{"two filters", one(onWeb+`, tcpdumpFilter: tcp, captureOption: {pcapFilter: udp}`, ""), PathTcpdumpFilter + ": cannot be combined with " + PathPcapFilter, "it is the old name of pcapFilter: keep that"},
		{"no target", one("captureTarget: {}", ""), pathTarget + ": selects nothing", "give it a nodeSelector, podNames, or a podSelector with or without a namespaceSelector"},
		{"no configuration", "apiVersion: retina.sh/v1alpha1\nkind: Capture\nmetadata: {name: a}\nspec: {}\n", "spec.captureConfiguration: is missing", "it says what to capture, in captureTarget"},
		{"two targets", one("captureTarget: {podNames: [a], nodeSelector: {}}", ""), PathPodNames + ": cannot be combined with " + PathNodes, "keep one of them, or write a Capture for each"},
		{"two other targets", one("captureTarget: {podNames: [a], namespaceSelector: {}}", ""), PathPodNames + ": cannot be combined with " + PathNamespaces, "keep one of them, or write a Capture for each"},
		{"operator", one("captureTarget: {nodeSelector: {matchExpressions: [{key: a, operator: Exists}, {key: a, operator: Is}]}}", ""), PathNodes + `.matchExpressions[1].operator: "Is" is not one of In, NotIn, Exists, DoesNotExist`, ""},
		{"pod name", one("captureTarget: {podNames: [ok, Not_ok]}", ""), PathPodNames + `[1]: "Not_ok" cannot be the name of a pod`, ""},
		{"no name", strings.Replace(option("duration: 1s"), "name: web", "namespace: web", 1), PathName + ": is missing", "it is the capture's name"},
		{"namespace", strings.Replace(option("duration: 1s"), "name: web", "name: web, namespace: a.b", 1), PathNamespace + `: "a.b" cannot be the name of a namespace`, ""},
		{"absolute host path", one(onWeb, "  outputConfiguration: {hostPath: /tmp/retina}\n"), PathHostPath + `: "/tmp/retina" is absolute`, "write it as a path below --host-path-base-dir, /var/log/retina/captures unless that is given"},
		{"host path that leaves", one(onWeb, "  outputConfiguration: {hostPath: a/../../b}\n"), PathHostPath + `: "a/../../b" leaves --host-path-base-dir`, ""},
		{"empty host path", one(onWeb, `  outputConfiguration: {hostPath: ""}`), PathHostPath + ": is empty", "to store nothing on nodes leave it out; . is the directory of --host-path-base-dir itself"},
		{"claim", one(onWeb, "  outputConfiguration: {persistentVolumeClaim: A}\n"), PathClaim + `: "A" cannot be the name of a PersistentVolumeClaim`, ""},
		{"a SAS instead of a Secret", one(onWeb, "  outputConfiguration: {blobUpload: 'https://a.example/c?sig=topsecret'}\n"), PathBlobSecret + ": is not the name of a Secret", "put the URL with its SAS into a Secret, under the key blob-upload-url, and write its name here"},
		{"bucket", one(onWeb, "  outputConfiguration: {s3Upload: {region: x}}\n"), PathS3Bucket + ": is missing", ""},
		{"version", strings.Replace(option(""), "v1alpha1", "v1", 1), `apiVersion: "retina.sh/v1" is not retina.sh/v1alpha1`, "write apiVersion: retina.sh/v1alpha1 and kind: Capture"},
		{"no version", strings.Replace(option(""), "apiVersion: retina.sh/v1alpha1", "", 1), "apiVersion: is missing", "write apiVersion: retina.sh/v1alpha1 and kind: Capture"},
		{"kind", strings.Replace(option(""), "kind: Capture", "kind: Captures", 1), `kind: "Captures" of "retina.sh/v1alpha1" is not a Capture`, "take other objects out of the file and apply them with kubectl"},
		{"item of a List", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod}\n", `items[0].kind: "Pod" of "v1" is not a Capture`, "take other objects out of the file and apply them with kubectl"},
		{"List in a List", "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: List}]}", "items[0]: is a List in a List", ""},
		{"a list", "- a\n", "must be a mapping, with apiVersion: retina.sh/v1alpha1 and kind: Capture, is a list", ""},
		{"a field twice", "apiVersion: retina.sh/v1alpha1\nkind: Capture\nkind: Capture\n", `unmarshal errors: line 3: key "kind" already set in map`, ""},
		{"nothing", "# only a comment\n---\n", "no Capture in it", "it should have apiVersion: retina.sh/v1alpha1 and kind: Capture; to see one: kubectl retina capture create ... --dry-run=client -o yaml"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("a.yaml", []byte(test.text))
			if err == nil || err.Error() != "a.yaml: "+test.want || hint.Of(err) != test.hint {
				t.Errorf("error\n%v\nhint %q, want\na.yaml: %s\nhint %q", err, hint.Of(err), test.want, test.hint)
			}
		})
	}
}

func TestFieldsOfListItemsHaveTheirPath(t *testing.T) {
	item := strings.ReplaceAll(strings.TrimSuffix(option("duration: x"), "\n"), "\n", "\n  ")
	_, err := Parse("a.yaml", []byte("apiVersion: v1\nkind: List\nitems:\n- "+item+"\n"))
	if err == nil || !strings.Contains(err.Error(), "items[0]."+PathDuration) {
		t.Error(err)
	}
}

func TestManyMistakesAreCounted(t *testing.T) {
	_, err := Parse("a.yaml", []byte(one("captureTarget: {podNames: [1,2,3,4,5,6,7,8,9,10]}", "")))
	if err == nil || strings.Count(err.Error(), "must be text") != maxProblems || !strings.HasSuffix(err.Error(), "\nand 2 more") {
		t.Error(err)
	}
}

func TestShapesOfFiles(t *testing.T) {
	capture := func(name string) string { return strings.Replace(option(""), "name: web", "name: "+name, 1) }
	asJSON := func(name string) string {
		return "{\n\t\"apiVersion\": \"retina.sh/v1alpha1\", \"kind\": \"Capture\", \"metadata\": {\"name\": \"" + name + "\", \"uid\": \"x\", \"creationTimestamp\": null},\n" +
			"\t\"spec\": {\"captureConfiguration\": {\"captureTarget\": {\"podNames\": [\"web-1\"]}}}\n}\n"
	}
	indent := func(text string) string {
		return "- " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
	}
	for name, test := range map[string]struct{ text, want string }{
		"one":               {capture("a"), "a@f"},
		"several":           {"# head\n---\n" + capture("a") + "---\n# nothing\n---\n" + capture("b"), "a@f, document 1 b@f, document 2"},
		"a List":            {"apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\nitems:\n" + indent(capture("a")) + indent(capture("b")), "a@f b@f"},
		"a CaptureList":     {"apiVersion: retina.sh/v1alpha1\nkind: CaptureList\nitems:\n" + indent(capture("a")), "a@f"},
		"JSON with tabs":    {asJSON("a"), "a@f"},
		"several of JSON":   {asJSON("a") + asJSON("b"), "a@f, document 1 b@f, document 2"},
		"with a Secret":     {"apiVersion: v1\nkind: Secret\nstringData: {a: b}\n---\n" + capture("a"), "a@f, document 2"},
		"a byte order mark": {"\uFEFF" + capture("a"), "a@f"},
		"Windows lines":     {strings.ReplaceAll(capture("a"), "\n", "\r\n"), "a@f"},
		"flow":              {"{apiVersion: retina.sh/v1alpha1, kind: Capture, metadata: {name: a}, spec: {captureConfiguration: {" + onWeb + "}}}", "a@f"},
	} {
		parsed, err := Parse("f", []byte(test.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, c := range parsed.Captures {
			got = append(got, c.Name+"@"+c.Origin)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// What says nothing is neither wrong nor ignored.
func TestNothingSaid(t *testing.T) {
	text := one(onWeb+`, captureOption: {quietOutput: false, verbosity: "", interfaces: [], duration: null}, filters: {}, tcpdumpFilter: ""`,
		"  outputConfiguration: {}\n  cleanUpAfterUpload: false\nstatus: {}\n")
	parsed, err := Parse("f", []byte(strings.Replace(text, "status: {}\n", "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	want := &Capture{Origin: "f", Name: "web", Target: Target{PodNames: []string{"web-1"}}, Filter: Filter{Interfaces: []string{}}}
	if diff := cmp.Diff(want, parsed.Captures[0]); diff != "" {
		t.Error(diff)
	}
}

func TestTooLarge(t *testing.T) {
	if _, err := Parse("f", make([]byte, MaxBytes+1)); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Error(err)
	}
}
