package capture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/capture"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/collectors"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapng"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
	"github.com/kubectl-retina/kubectl-retina/internal/version"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// options parses a command line without running it.
func options(t *testing.T, args ...string) *createOptions {
	t.Helper()
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	o := &createOptions{kube: kube.NewFlags(), streams: streams, now: func() time.Time { return time.Unix(1795363200, 0) }}
	cmd := NewCreate(o.kube, streams)
	cmd.ResetFlags()
	o.addFlags(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	o.request.Args = cmd.Flags().Args()
	return o
}

func TestDefaults(t *testing.T) {
	t.Setenv(collectors.ImageVariable, "")
	c, err := options(t, "deploy/web").complete()
	if err != nil {
		t.Fatal(err)
	}
	if c.duration != time.Minute || c.maxBytes != 100<<20 || c.packets != 0 || c.snapLen != wire.MaxSnapLen ||
		c.format != capture.Pcapng || c.image != version.CollectorImage() {
		t.Errorf("config %+v", c)
	}
}

func TestImageComesFromFlagThenEnvironment(t *testing.T) {
	t.Setenv(collectors.ImageVariable, "example.com/from-env:1")
	for want, args := range map[string][]string{
		"example.com/from-env:1":  {"pod/x"},
		"example.com/from-flag:1": {"pod/x", "--image", "example.com/from-flag:1"},
	} {
		if c, err := options(t, args...).complete(); err != nil || c.image != want {
			t.Errorf("%v: image %q, %v", args, c.image, err)
		}
	}
}

func TestPathOfTheFile(t *testing.T) {
	for want, args := range map[string][]string{
		"web-20261122T160000Z.pcapng":     {"deploy/web", "pod/x"},
		"web-20261122T160000Z.pcap":       {"deploy", "web", "--format", "pcap"},
		"capture-20261122T160000Z.pcapng": {"-l", "app=web"},
		"mine-20261122T160000Z.pcapng":    {"deploy/web", "--name", "mine"},
		"/tmp/x":                          {"deploy/web", "--write", "/tmp/x"},
	} {
		o := options(t, args...)
		o.now = func() time.Time { return time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC) }
		c, err := o.complete()
		if err != nil {
			t.Fatal(err)
		}
		if got := newRun(o, c).path(); got != want {
			t.Errorf("%v: %q, want %q", args, got, want)
		}
	}
}

func TestMistakesAreUsageErrors(t *testing.T) {
	for want, args := range map[string][]string{
		"no target given":         {},
		"--duration 25h":          {"pod/x", "--duration", "25h"},
		"--max-size -5":           {"pod/x", "--max-size", "-5"},
		"is not a size":           {"pod/x", "--max-size", "9223372036854775807"},
		"--packet-count -1":       {"pod/x", "--packet-count", "-1"},
		"--packet-size 15":        {"pod/x", "--packet-size", "15"},
		"both want standard":      {"pod/x", "--write", "-", "-o", "json"},
		"--hook":                  {"pod/x", "--hook", "xdp"},
		"--format":                {"pod/x", "--format", "zip"},
		"is not a label selector": {"-l", "a=("},
		"cannot be the name":      {"pod/x", "--name", "a/b"},
		"name of an image":        {"pod/x", "--image", "BAD IMAGE"},
	} {
		_, err := options(t, args...).complete()
		if exit.Code(err) != exit.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v (code %d), want %q", args, err, exit.Code(err), want)
		}
	}
}

// ended is a run whose capture has given result, with one node that worked and
// one that did not start.
func ended(t *testing.T, result *capture.Result) (*captureRun, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	o := options(t, "-l", "app=web", "-o", "json")
	stdout, stderr := &bytes.Buffer{}, &bytes.Buffer{}
	o.streams = genericiooptions.IOStreams{Out: stdout, ErrOut: stderr}
	c, err := o.complete()
	if err != nil {
		t.Fatal(err)
	}
	r := newRun(o, c)
	out, err := capture.OpenOutput(t.Context(), t.TempDir()+"/x.pcapng", nil, capture.Pcapng)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	r.output = &output{Output: out, file: out.Name()}
	p := planNode(target.Node{Name: "n1", Pods: shopPods[1:]}, 96, "")
	result.Sources = []capture.SourceResult{{Node: "n1", Lost: result.Lost, Interfaces: []capture.InterfaceResult{{
		Interface: capture.Interface{Target: 0, Ifname: "eth0", Interface: pcapng.Interface{Name: "shop/web/eth0"}}, Packets: result.Packets, CapBytes: result.CapBytes, Lost: result.Lost, Counted: true,
	}}}}
	r.nodes = []*nodeRun{{plan: &p, source: &result.Sources[0]}}
	return r, stdout, stderr
}

func TestSummaryIsStable(t *testing.T) {
	result := &capture.Result{Packets: 4182, CapBytes: 1900, Complete: true, Limit: capture.PacketLimit}
	r, stdout, _ := ended(t, result)
	if err := r.finish(context.Background(), result, nil, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"apiVersion": "retina.sh/v1alpha1", "kind": "CaptureSummary", "name": "", "packets": 4182.0, "bytes": 1900.0, "lost": 0.0,
		"complete": true, "limit": "packets", "durationSeconds": 10.0, "files": []any{r.output.Name()}, "warnings": []any{},
		"nodes": []any{map[string]any{
			"name": "n1", "ready": true, "packets": 4182.0, "lost": 0.0,
			"pods": []any{map[string]any{"namespace": "shop", "name": "web", "interfaces": []any{
				map[string]any{"name": "eth0", "packets": 4182.0, "bytes": 1900.0, "lost": 0.0},
			}}},
		}},
	}
	var got map[string]any
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestExitCodes(t *testing.T) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	background := context.Background()
	for name, test := range map[string]struct {
		ctx    context.Context
		result capture.Result
		output error
		node   error
		want   int
	}{
		"all well":            {background, capture.Result{Packets: 1, Complete: true}, nil, nil, exit.Done},
		"nothing seen":        {background, capture.Result{Complete: true}, nil, nil, exit.Done},
		"lost packets":        {background, capture.Result{Packets: 1, Lost: 1, Complete: true}, nil, nil, exit.Partial},
		"a node failed":       {background, capture.Result{Packets: 1}, nil, errors.New("no"), exit.Partial},
		"the disk was full":   {background, capture.Result{Packets: 1}, errors.New("full"), nil, exit.Partial},
		"nothing was written": {background, capture.Result{}, errors.New("full"), nil, exit.Failed},
		"the reader left":     {background, capture.Result{Packets: 1}, capture.ErrReaderClosed, nil, exit.Done},
		"interrupted":         {cancelled, capture.Result{Packets: 1, Complete: true}, nil, nil, exit.Interrupted},
	} {
		r, _, _ := ended(t, &test.result)
		r.nodes[0].err = test.node
		if got := exit.Code(r.verdict(test.ctx, &test.result, test.output)); got != test.want {
			t.Errorf("%s: exit code %d, want %d", name, got, test.want)
		}
	}
}

func TestSummaryHasHostNetworkPods(t *testing.T) {
	r, _, _ := ended(t, &capture.Result{})
	p := planNode(target.Node{Name: "n1", Pods: shopPods}, 96, "")
	n := &nodeRun{plan: &p, source: &capture.SourceResult{Interfaces: []capture.InterfaceResult{
		{Interface: capture.Interface{Target: 0, Ifname: "eth0", Interface: pcapng.Interface{Name: "shop/web/eth0"}}, Packets: 1},
		{Interface: capture.Interface{Target: nodeTarget, Ifname: "ens3", Interface: pcapng.Interface{Name: "n1/ens3"}}, Packets: 2},
	}}}
	r.nodes = []*nodeRun{n}
	want := []SummaryNode{{
		Name: "n1", Ready: true, Packets: 3, Interfaces: []SummaryInterface{{Name: "ens3", Packets: 2}},
		Pods: []SummaryPod{
			{Namespace: "shop", Name: "web", Interfaces: []SummaryInterface{{Name: "eth0", Packets: 1}}},
			{Namespace: "kube-system", Name: "proxy", HostNetwork: true, Interfaces: []SummaryInterface{}},
		},
	}}
	if diff := cmp.Diff(want, r.summary(&capture.Result{}, 0).Nodes); diff != "" {
		t.Error(diff)
	}
}

func TestSummaryWhenNothingStarted(t *testing.T) {
	r, stdout, _ := ended(t, &capture.Result{})
	r.nodes[0].source, r.nodes[0].err = nil, errors.New("node n1: no\x1b[2J BTF")
	if err := r.nothingStarted(); exit.Code(err) != exit.Failed {
		t.Errorf("exit code of %v", err)
	}
	var got Summary
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Complete || got.Files == nil || len(got.Files) != 0 || len(got.Nodes) != 1 || got.Nodes[0].Ready || got.Nodes[0].Error != "node n1: no[2J BTF" {
		t.Errorf("summary %+v", got)
	}
}

// Names, starting and stopping all warn, at the same time.
func TestWarningsFromSeveralGoroutines(t *testing.T) {
	r, _, stderr := ended(t, &capture.Result{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { r.warn("a\nb") })
	}
	wg.Wait()
	if got := r.summary(&capture.Result{}, 0).Warnings; len(got) != 8 || got[0] != "a; b" || strings.Count(stderr.String(), "warning: a; b\n") != 8 {
		t.Errorf("%q, %q", got, stderr)
	}
}

func TestHeadlineOfSourcesThatFailed(t *testing.T) {
	result := &capture.Result{Packets: 1, Lost: 5812}
	r, _, _ := ended(t, result)
	p := planNode(target.Node{Name: "n1", Pods: shopPods}, 96, "")
	r.nodes[0].plan = &p
	r.nodes[0].failed = []wire.TargetError{{Target: nodeTarget, Cause: "the whole node"}}
	result.Sources[0].Err = wire.ErrCut
	for readerLeft, want := range map[bool]string{
		false: ": 1 packet from 1 pod on 1 node, at least 5,812 lost; incomplete",
		true:  ": 1 packet from 1 pod on 1 node, at least 5,812 lost; ended by the reader; incomplete",
	} {
		if got := r.headline(result, readerLeft); got != r.output.Name()+want {
			t.Errorf("%q, want it to end with %q", got, want)
		}
	}
	result.Sources[0].Err, result.Lost = nil, 0
	if got, want := r.headline(result, true), r.output.Name()+": 1 packet from 1 pod on 1 node, 0 lost; ended by the reader"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestHeadline(t *testing.T) {
	for want, result := range map[string]capture.Result{
		": 4,182 packets from 1 pod on 1 node, 0 lost":                       {Packets: 4182, Complete: true},
		": 1 packet from 1 pod on 1 node, 2 lost; ended by --max-size":       {Packets: 1, Lost: 2, Complete: true, Limit: capture.SizeLimit},
		": 0 packets from 1 pod on 1 node, 0 lost; incomplete":               {},
		": 10 packets from 1 pod on 1 node, 0 lost; ended by --packet-count": {Packets: 10, Complete: true, Limit: capture.PacketLimit},
	} {
		r, _, _ := ended(t, &result)
		if got := r.headline(&result, false); got != r.output.Name()+want {
			t.Errorf("%q, want it to end with %q", got, want)
		}
	}
}
