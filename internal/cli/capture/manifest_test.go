package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/manifest"
)

// document is a manifest with a target, an option and an output.
func document(name, target, option, output string) string {
	return "apiVersion: retina.sh/v1alpha1\nkind: Capture\nmetadata: {name: " + name + "}\nspec:\n  captureConfiguration:\n    captureTarget: {" + target +
		"}\n    captureOption: {" + option + "}\n  outputConfiguration: {" + output + "}\n"
}

// given is a command line with manifests on standard input.
func given(t *testing.T, text string, args ...string) (o *createOptions, stdout, stderr *bytes.Buffer) {
	t.Helper()
	o = options(t, append([]string{"-f", "-"}, args...)...)
	o.flags.String("namespace", "", "")
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	o.streams = genericiooptions.IOStreams{In: strings.NewReader(text), Out: stdout, ErrOut: stderr}
	return o, stdout, stderr
}

// read makes the options of a manifest.
func read(t *testing.T, text string, args ...string) (*createOptions, error) {
	t.Helper()
	o, _, _ := given(t, text, args...)
	captures, _, err := readManifests(o.files, o.streams.In)
	if err != nil {
		t.Fatal(err)
	}
	return o.forManifest(captures[0])
}

// changed are the flags that differ from their defaults, as they would be typed.
func changed(o *createOptions) map[string]string {
	all := map[string]string{}
	o.flags.VisitAll(func(f *pflag.Flag) {
		if o.own[f.Name] && f.Changed && f.Name != "filename" {
			all[f.Name] = strings.Join(flagValues(f), " ")
		}
	})
	return all
}

func TestFieldsBecomeFlags(t *testing.T) {
	o, err := read(t, document("web", "podNames: [a]", "maxCaptureSize: 7, packetSize: 96, fileCount: 3, duration: 90s",
		"hostPath: x, persistentVolumeClaim: c, blobUpload: s, s3Upload: {bucket: b, region: r, endpoint: 'https://e', path: p, secretName: k}"), "--no-wait", "--keep", "2h")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"max-size": "7", "packet-size": "96", "file-count": "3", "duration": "1m30s", "host-path": "x", "pvc": "c", "blob-upload-secret": "s",
		"s3-bucket": "b", "s3-region": "r", "s3-endpoint": "https://e", "s3-path": "p", "s3-secret": "k", "no-wait": "true", "keep": "2h0m0s",
	}
	if diff := cmp.Diff(want, changed(o)); diff != "" {
		t.Error(diff)
	}
	c, err := o.complete()
	if err != nil {
		t.Fatal(err)
	}
	if o.name != "web" || c.duration != 90*time.Second || c.maxBytes != 7<<20 || c.snapLen != 96 || !c.stored {
		t.Errorf("name %q, config %+v", o.name, c)
	}
}

// What a manifest selects, as the command line would say it.
func TestTargetsOfManifests(t *testing.T) {
	for target, want := range map[string]string{
		"podNames: [a, b]":                                              "pod default/a, pod default/b",
		"podSelector: {matchLabels: {app: web}}":                        "--pod-selectors app=web in namespace default",
		"podSelector: {}":                                               "pods in namespace default",
		"podSelector: {}, namespaceSelector: {}":                        "pods in all namespaces",
		"namespaceSelector: {}":                                         "pods in all namespaces",
		"namespaceSelector: {matchLabels: {a: b}}":                      "--namespace-selectors a=b",
		"nodeSelector: {}":                                              "all Linux nodes",
		"nodeSelector: {matchLabels: {a: b, c: ''}}":                    "--node-selectors a=b,c=",
		"podSelector: {matchLabels: {app: web}}, namespaceSelector: {}": "--pod-selectors app=web in all namespaces",
		"podSelector: {}, namespaceSelector: {matchLabels: {a: b}}":     "--namespace-selectors a=b",
		"podSelector: {matchExpressions: [{key: a, operator: NotIn, values: [v, w]}, {key: b, operator: Exists}, {key: c, operator: DoesNotExist}]}, namespaceSelector: {matchExpressions: [{key: m, operator: In, values: [z]}]}": "--pod-selectors a notin (v,w),b,!c and --namespace-selectors m in (z)",
	} {
		o, err := read(t, document("web", target, "", ""))
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		c, err := o.complete()
		if err != nil || c.selection.String() != want {
			t.Errorf("%s: %q, %v, want %q", target, c.selection.String(), err, want)
		}
	}
}

// Without a duration a manifest has no end but its size, as Retina has it.
func TestDurationOfAManifest(t *testing.T) {
	for _, test := range []struct {
		option, flag string
		want         time.Duration
	}{{"", "", 0}, {"", "5s", 5 * time.Second}, {"duration: 3s", "", 3 * time.Second}} {
		var args []string
		if test.flag != "" {
			args = []string{"--duration", test.flag}
		}
		o, err := read(t, document("web", "podNames: [a]", test.option, ""), args...)
		if err != nil || o.duration != test.want || o.maxSizeMB != 100 {
			t.Errorf("%+v: %s, %d MB, %v", test, o.duration, o.maxSizeMB, err)
		}
	}
}

// What a field says is what the flag is given.
func TestFilterFields(t *testing.T) {
	configuration := func(fields string) string {
		return "apiVersion: retina.sh/v1alpha1\nkind: Capture\nmetadata: {name: web}\nspec:\n  captureConfiguration: {captureTarget: {podNames: [a]}, " + fields + "}\n"
	}
	for _, test := range []struct{ path, flag, fields, value string }{
		{manifest.PathInterfaces, "interfaces", "captureOption: {interfaces: [eth0, eth1]}", "eth0 eth1"},
		{manifest.PathPcapFilter, "filter", "captureOption: {pcapFilter: 'tcp port 80, or so'}", "tcp port 80, or so"},
		{manifest.PathTcpdumpFilter, "filter", "tcpdumpFilter: tcp", "tcp"},
		{manifest.PathSourceIPs, "source-ips", "captureOption: {sourceIPs: [10.0.0.1]}", "10.0.0.1"},
		{manifest.PathDestinationIPs, "destination-ips", "captureOption: {destinationIPs: [10.0.0.1, 'fd00::1']}", "10.0.0.1 fd00::1"},
		{manifest.PathInclude, "include-filter", "filters: {include: ['*:80']}", "*:80"},
		{manifest.PathExclude, "exclude-filter", "filters: {exclude: [10.0.0.1]}", "10.0.0.1"},
	} {
		o, err := read(t, configuration(test.fields))
		if err != nil || strings.ReplaceAll(changed(o)[test.flag], ",", " ") != strings.ReplaceAll(test.value, ",", " ") {
			t.Errorf("%s: %q, %v, want %q", test.fields, changed(o)[test.flag], err, test.value)
		}
	}
}

func TestManifestAgainstFlags(t *testing.T) {
	text := document("web", "podNames: [a]", "duration: 5s, maxCaptureSize: 10", "")
	for want, args := range map[string][]string{
		"-f and pod/x both name targets":                 {"pod/x"},
		"-f and --selector both name targets":            {"-l", "a=b"},
		"-f and --all-namespaces both":                   {"-A"},
		"-f and --node-selectors both":                   {"--node-selectors", "a=b"},
		"-f and --host-path both say where":              {"--host-path", "x"},
		"-f and --blob-upload both say where":            {"--blob-upload", "https://x"},
		"-f and --s3-secret-access-key both say":         {"--s3-secret-access-key", "topsecret"},
		"-f and --name both name the capture":            {"--name", "x"},
		"--duration and " + manifest.PathDuration:        {"--duration", "5s"},
		"--max-size and " + manifest.PathMaxCaptureSize:  {"--max-size", "10"},
		"--dry-run \"yes\" is not one of client, server": {"--dry-run", "yes"},
		"--host-path-keep needs --host-path":             {"--host-path-keep", "2"},
		"--no-wait and --write exclude":                  {"--no-wait", "--write", "x"},
	} {
		o, stdout, _ := given(t, text, args...)
		err := o.create(context.Background())
		if exit.Code(err) != exit.Usage || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "topsecret") || stdout.Len() > 0 {
			t.Errorf("%v: %v (code %d), want %q", args, err, exit.Code(err), want)
		}
	}
	if _, err := read(t, text, "--collector-namespace", "x", "-q", "--redact", "--packet-count", "3", "--image", "i", "--packet-size", "96", "--insecure-blob", "-o", "json"); err != nil {
		t.Errorf("flags that go with -f: %v", err)
	}
}

// Mistakes that only the flags' own checks find are said in the manifest's words.
func TestLateMistakesNameTheirField(t *testing.T) {
	for _, test := range []struct{ name, option, output, want string }{
		{"web", "duration: 25h", "", manifest.PathDuration + " 25h0m0s is not between 0 and"},
		{"web", "packetSize: 3", "", manifest.PathPacketSize + " 3 is neither 0 nor between"},
		{"web", "fileCount: 3", "", manifest.PathFileCount + " is for captures that nodes store"},
		{"a.b", "", "", manifest.PathName + ": \"a.b\" cannot be"},
		{"web", "", "s3Upload: {bucket: a/b}", manifest.PathS3Bucket + " \"a/b\" is not the name of a bucket"},
		{"web", "", "s3Upload: {bucket: b, endpoint: e}", manifest.PathS3Endpoint + " is not the URL"},
	} {
		o, err := read(t, document(test.name, "podNames: [a]", test.option, test.output))
		if err == nil {
			_, err = o.complete()
		}
		if exit.Code(err) != exit.Usage || !strings.HasPrefix(err.Error(), "standard input: "+test.want) {
			t.Errorf("%+v: %v (code %d)", test, err, exit.Code(err))
		}
	}
}

func TestNamespaceOfAManifest(t *testing.T) {
	text := strings.Replace(document("web", "podNames: [a]", "", ""), "name: web", "name: web, namespace: shop", 1)
	for namespace, want := range map[string]string{"": "", "shop": "", "other": "contradict"} {
		o, _, _ := given(t, text)
		if namespace != "" {
			if err := o.flags.Set("namespace", namespace); err != nil {
				t.Fatal(err)
			}
		}
		captures, _, err := readManifests(o.files, o.streams.In)
		if err != nil {
			t.Fatal(err)
		}
		one, err := o.forManifest(captures[0])
		if want == "" && (err != nil || one.namespace != "shop") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("-n %q: %v", namespace, err)
		}
	}
}

// The manifest of a command line says the same when it is read.
func TestCommandLineRoundTrip(t *testing.T) {
	for _, args := range [][]string{
		{"deploy/web", "svc/db"},
		{"deploy", "web", "db"},
		{"pod/a", "pods/b"},
		{"node/n1", "pod/a", "--name", "mixed"},
		{"-l", "app=web,tier in (a,b),stage notin (test),!canary,team", "--duration", "0"},
		{"-l", "app=web", "-A"},
		{"--pod-names", "a,b", "--max-size", "0"},
		{"--pod-selectors", "app=web", "--namespace-selectors", "team=a"},
		{"--namespace-selectors", "team in (a)"},
		{"--node-names", "n1,n2"},
		{"--node-selectors", "kubernetes.io/os=linux", "--include-metadata=false"},
		{"deploy/web", "--host-path", "x", "--pvc", "c", "--blob-upload-secret", "s", "--file-count", "3", "--packet-size", "96"},
		{"deploy/web", "--blob-upload-secret", "s/blob-upload-url", "--s3-bucket", "b", "--s3-region", "r", "--s3-endpoint", "https://e", "--s3-path", "p", "--s3-secret", "k"},
	} {
		first := options(t, append(args, "--dry-run", "client")...)
		before, err := first.complete()
		if err != nil {
			t.Fatal(err)
		}
		stdout := &bytes.Buffer{}
		first.streams = genericiooptions.IOStreams{Out: stdout, ErrOut: io.Discard}
		if err := first.create(context.Background()); err != nil {
			t.Errorf("%v: %v", args, err)
			continue
		}
		text := stdout.String()
		second, secondOut, _ := given(t, text, "--dry-run", "client")
		if err := second.create(context.Background()); err != nil || secondOut.String() != text {
			t.Errorf("%v: %v, printed\n%s\nand then\n%s", args, err, text, secondOut)
		}
		again, err := read(t, text)
		if err != nil {
			t.Fatal(err)
		}
		after, err := again.complete()
		if err != nil {
			t.Fatal(err)
		}
		parts := func(c *config) (all []string) {
			for _, p := range c.selection.Parts() {
				all = append(all, strings.Join([]string{p.Kind, p.Namespace, p.Name, p.Labels.String(), p.Pods.String()}, "|"))
			}
			return all
		}
		if diff := cmp.Diff(parts(before), parts(after)); diff != "" {
			t.Errorf("%v: targets differ:\n%s", args, diff)
		}
		if before.duration != after.duration || before.maxBytes != after.maxBytes || before.snapLen != after.snapLen || before.stored != after.stored ||
			first.fileCount != again.fileCount || first.includeMetadata != again.includeMetadata || first.name != again.name {
			t.Errorf("%v: %+v became %+v", args, before, after)
		}
	}
}

func TestNoSecretIsPrinted(t *testing.T) {
	for want, args := range map[string][]string{
		"blobUpload: NAME":          {"--blob-upload", "https://a.example/c?sig=topsecret"},
		"--blob-upload-secret NAME": {"--blob-upload-file", "topsecret"},
		"s3Upload.secretName: NAME": {"--s3-bucket", "b", "--s3-access-key-id", "topsecret", "--s3-secret-access-key", "topsecret"},
	} {
		o := options(t, append(args, "pod/x", "--dry-run", "client")...)
		stdout, stderr := &bytes.Buffer{}, &bytes.Buffer{}
		o.streams = genericiooptions.IOStreams{Out: stdout, ErrOut: stderr}
		err := o.create(context.Background())
		if exit.Code(err) != exit.Usage || !strings.Contains(hint.Of(err), want) || strings.Contains(stdout.String()+stderr.String()+err.Error(), "topsecret") {
			t.Errorf("%v: %v, hint %q, printed %q", args, err, hint.Of(err), stdout)
		}
	}
}

func TestWhatAManifestCannotSay(t *testing.T) {
	t.Setenv("RETINA_BLOB_URL", "https://a.example/c?sig=topsecret")
	o := options(t, "deploy/web", "--dry-run", "client", "--redact", "--packet-count", "3", "--no-wait", "--collector-namespace", "x", "-q", "--duration", "5s")
	stdout, stderr := &bytes.Buffer{}, &bytes.Buffer{}
	o.streams = genericiooptions.IOStreams{Out: stdout, ErrOut: stderr}
	if err := o.create(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := "warning: Retina does not know the annotation retina.sh/target-arguments, which names the targets\n"
	for _, flag := range []string{"collector-namespace", "no-wait", "packet-count", "quiet", "redact"} {
		want += "warning: no field says --" + flag + ": pass it beside -f, too\n"
	}
	want += "warning: no field says where the environment has the capture stored\n"
	if diff := cmp.Diff(want, stderr.String()); diff != "" || strings.Contains(stdout.String(), "topsecret") {
		t.Errorf("%s\n%s", diff, stdout)
	}
	for want, args := range map[string][]string{
		"--node-names with --node-selectors": {"--node-names", "n1", "--node-selectors", "a=b"},
		`-l "a>5" cannot be written`:         {"-l", "a>5"},
		"a manifest names the Secret only":   {"pod/x", "--blob-upload-secret", "s/other"},
	} {
		err := options(t, append(args, "--dry-run", "client")...).create(context.Background())
		if exit.Code(err) != exit.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestSeveralManifestsNeedNoWait(t *testing.T) {
	two := document("a", "podNames: [a]", "", "") + "---\n" + document("b", "podNames: [b]", "", "")
	o, _, _ := given(t, two)
	if err := o.create(context.Background()); exit.Code(err) != exit.Usage || !strings.Contains(hint.Of(err), "--no-wait") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
	o, stdout, _ := given(t, two, "--dry-run", "client")
	if err := o.create(context.Background()); err != nil || strings.Count(stdout.String(), "kind: Capture\n") != 2 {
		t.Errorf("%v: %s", err, stdout)
	}
	o, _, _ = given(t, document("a", "podNames: [a]", "", "")+"---\n"+document("a", "podNames: [b]", "", ""), "--no-wait")
	if err := o.create(context.Background()); exit.Code(err) != exit.Usage || !strings.Contains(err.Error(), `document 2: metadata.name "a" is also that of standard input, document 1`) {
		t.Error(err)
	}
}

// A generated name is as unique as one of the command line's.
func TestGenerateName(t *testing.T) {
	o, err := read(t, strings.Replace(document("x", "podNames: [a]", "", ""), "name: x", "generateName: web-", 1))
	if err != nil {
		t.Fatal(err)
	}
	c, err := o.complete()
	if err != nil || o.name != "" {
		t.Fatalf("name %q, %v", o.name, err)
	}
	r := newRun(o, c)
	if err := r.prepareStorage(context.Background()); err != nil || !strings.HasPrefix(r.uniqueName, "web-") || len(r.uniqueName) != len("web-12345") {
		t.Errorf("%q, %v", r.uniqueName, err)
	}
}

func TestFilesOfManifests(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"b.yaml": document("b", "podNames: [a]", "", ""), "a.yml": document("a", "podNames: [a]", "", ""), "notes.txt": "none",
		"c.JSON": `{"apiVersion":"retina.sh/v1alpha1","kind":"Capture","metadata":{"name":"c"},"spec":{"captureConfiguration":{"captureTarget":{"podNames":["a"]}}}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	captures, _, err := readManifests([]string{dir, "-"}, strings.NewReader(document("d", "podNames: [a]", "", "")))
	var names []string
	for _, c := range captures {
		names = append(names, c.Name)
	}
	if err != nil || strings.Join(names, " ") != "a b c d" {
		t.Errorf("%q, %v", names, err)
	}
	empty := t.TempDir()
	for want, paths := range map[string][]string{
		"no such file":         {filepath.Join(dir, "none.yaml")},
		"no *.yaml":            {empty},
		"is a URL":             {"https://example.com/x.yaml"},
		"given twice":          {"-", "-"},
		"is also that of":      {dir, filepath.Join(dir, "b.yaml")},
		"name of the file is ": {""},
	} {
		_, _, err := readManifests(paths, strings.NewReader(document("d", "podNames: [a]", "", "")))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", paths, err)
		}
	}
}

// A flag gets back what it had, whatever is in it.
func TestSetFlag(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.StringSlice("slice", nil, "")
	flags.StringArray("array", nil, "")
	flags.String("text", "", "")
	for name, values := range map[string][]string{"slice": {"a,b", `c"d`, "*:80"}, "array": {"a,b", "c"}, "text": {"tcp, or udp"}} {
		if err := setFlag(flags, name, values); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := flagValues(flags.Lookup(name)); !slices.Equal(got, values) {
			t.Errorf("%s: %q, want %q", name, got, values)
		}
	}
}

// One of several captures that fails does not keep the others from running.
func TestEachGoesOn(t *testing.T) {
	two := []*manifest.Capture{{Origin: "a"}, {Origin: "b"}}
	no := hint.Wrap(exit.With(exit.Failed, errors.New("no")), "try again")
	for name, test := range map[string]struct {
		errs []error
		code int
		text string
	}{
		"all well":   {[]error{nil, nil}, exit.Done, ""},
		"one failed": {[]error{no, nil}, exit.Partial, "a: no"},
		"all failed": {[]error{no, no}, exit.Failed, "a: no\nb: no"},
	} {
		done := 0
		err := each(t.Context(), two, func(i int) error { done++; return test.errs[i] })
		if done != 2 || exit.Code(err) != test.code || err != nil && (err.Error() != test.text || hint.Of(err) != "try again") {
			t.Errorf("%s: %d done, %v (code %d), hint %q", name, done, err, exit.Code(err), hint.Of(err))
		}
	}
	interrupted, cancel := context.WithCancel(t.Context())
	done := 0
	err := each(interrupted, two, func(int) error { done++; cancel(); return no })
	if done != 1 || err == nil {
		t.Errorf("%d done after an interrupt, %v", done, err)
	}
}
