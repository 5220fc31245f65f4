package doctor_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/doctor"
	"github.com/kubectl-retina/kubectl-retina/internal/rights"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// healthy is a node on which everything works.
func healthy() *doctor.Node {
	return &doctor.Node{
		Name: "n1", Hello: wire.Hello{Kernel: "Linux 6.8.0-45-generic", Arch: "amd64", CPUs: 4}, ReadyAfter: 1200 * time.Millisecond,
		Examined:    wire.Examined{BootID: "b", Tried: []wire.TriedPlugin{{Plugin: "packets", Hook: "tcx", Micros: 40_000}, {Plugin: "dns", Micros: 9_000}}},
		Uncertainty: time.Millisecond, StreamAsked: time.Second, StreamBytes: 80e6, StreamTime: time.Second,
	}
}

func check(t *testing.T, all []doctor.Check, name string) doctor.Check {
	t.Helper()
	for _, c := range all {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %s in %+v", name, all)
	return doctor.Check{}
}

func TestNodeChecks(t *testing.T) {
	for _, c := range healthy().Checks() {
		if c.Status != doctor.OK || c.Node != "n1" || c.Detail == "" || c.Hint != "" {
			t.Errorf("a healthy node: %+v", c)
		}
	}
	// Without the kubelet's events nothing is said of the image.
	if c := check(t, healthy().Checks(), "collector"); c.Detail != "answered after 1.2s, amd64, 4 CPUs" {
		t.Errorf("%+v", c)
	}
	for _, test := range []struct {
		name   string
		spoil  func(*doctor.Node)
		check  string
		status doctor.Status
		detail string
		hint   string
	}{
		{"old kernel", func(n *doctor.Node) { n.Hello.Kernel = "Linux 5.4.0" }, "kernel", doctor.Fail, "5.4.0", "5.8"},
		{"oldest kernel", func(n *doctor.Node) { n.Hello.Kernel = "Linux 5.8.0-1" }, "kernel", doctor.OK, "5.8.0-1", ""},
		{"two digits", func(n *doctor.Node) { n.Hello.Kernel = "Linux 5.15+" }, "kernel", doctor.OK, "5.15", ""},
		{"no version", func(n *doctor.Node) { n.Hello.Kernel = "Linux x.y" }, "kernel", doctor.Unknown, "x.y", ""},
		{"lockdown", func(n *doctor.Node) { n.Examined.Lockdown = "confidentiality" }, "kernel", doctor.Warn, "locked down", "tracing"},
		{"no BTF", func(n *doctor.Node) { n.Examined.BTF = "no such file" }, "btf", doctor.Warn, "no such file", "CONFIG_DEBUG_INFO_BTF"},
		{"no TCX", func(n *doctor.Node) { n.Examined.TCX = "not supported" }, "tcx", doctor.Warn, "packet sockets", "6.6"},
		{"plugin fails", func(n *doctor.Node) { n.Examined.Tried[1].Cause = "refused" }, "plugin/dns", doctor.Fail, "refused", ""},
		{"plugin lacks", func(n *doctor.Node) { n.Examined.Tried[1].Lacks = []string{"a", "b"} }, "plugin/dns", doctor.Warn, "except: a; b", ""},
		{"hook", func(n *doctor.Node) { n.Examined.Tried[0].Hook = "socket" }, "plugin/packets", doctor.OK, "attached by socket", ""},
		{"clock behind", func(n *doctor.Node) { n.Offset = -2 * time.Second }, "clock", doctor.Warn, "-2s", "NTP"},
		{"clock unsure", func(n *doctor.Node) { n.Offset, n.Uncertainty = time.Second, time.Second }, "clock", doctor.OK, "± 1s", ""},
		{"slow stream", func(n *doctor.Node) { n.StreamBytes = 1e6 }, "stream", doctor.Warn, "1 MB/s", "--packet-size"},
		{"image there", func(n *doctor.Node) { n.Image = doctor.ImageThere }, "collector", doctor.OK, "already on the node, pulling was not tried", ""},
		{"image pulled", func(n *doctor.Node) { n.Image = doctor.ImagePulled }, "collector", doctor.OK, "image pulled, answered", ""},
		{"slowest stream", func(n *doctor.Node) { n.StreamBytes, n.StreamTime = 0, 0 }, "stream", doctor.Unknown, "less than 0.5 MB arrived in 1s", "--stream-time 10s"},
		{"cut stream", func(n *doctor.Node) { n.Cut = errors.New("reset by peer") }, "stream", doctor.Fail, "reset by peer", "cuts"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := healthy()
			test.spoil(n)
			c := check(t, n.Checks(), test.check)
			if c.Status != test.status || !strings.Contains(c.Detail, test.detail) || (test.hint == "") != (c.Hint == "") || !strings.Contains(c.Hint, test.hint) {
				t.Errorf("%+v", c)
			}
		})
	}
}

// TestProgramsOfSharedKernel: what one node's process holds is no leftover of
// another node of the same kernel.
func TestProgramsOfSharedKernel(t *testing.T) {
	seen := func(id uint32, age int64, held bool) wire.ProgramSeen {
		return wire.ProgramSeen{ID: id, Name: "dns_socket", AgeSeconds: age, Held: held}
	}
	a, b, c := healthy(), healthy(), healthy()
	a.Name, a.Examined.Programs = "a", []wire.ProgramSeen{seen(1, 500, true), seen(2, 500, false), seen(3, 10, false)}
	b.Name, b.Examined.Programs = "b", []wire.ProgramSeen{seen(1, 500, false), seen(2, 500, false)}
	c.Name, c.Examined.BootID, c.Examined.Programs = "c", "other", []wire.ProgramSeen{seen(1, 500, false), seen(4, -1, false)}
	checks := doctor.Programs([]*doctor.Node{a, b, c})
	if len(checks) != 3 {
		t.Fatalf("%+v", checks)
	}
	for i, want := range []struct {
		status doctor.Status
		detail string
	}{{doctor.Warn, "dns_socket (2)"}, {doctor.OK, "no BPF program"}, {doctor.Warn, "dns_socket (1)"}} {
		if c := checks[i]; c.Status != want.status || !strings.HasSuffix(c.Detail, want.detail) && i != 1 {
			t.Errorf("node %s: %+v", c.Node, c)
		}
	}
	a.Examined.ProgramsUnknown = "not permitted"
	if c := doctor.Programs([]*doctor.Node{a})[0]; c.Status != doctor.Unknown {
		t.Errorf("%+v", c)
	}
}

func TestRights(t *testing.T) {
	lack := func(scope rights.Scope, texts ...string) (all []rights.Right) {
		for _, r := range rights.Of(rights.All(), scope) {
			for _, text := range texts {
				if r.String() == text {
					all = append(all, r)
				}
			}
		}
		return all
	}
	for _, test := range []struct {
		missing []rights.Right
		targets string
		want    [3]doctor.Status
		detail  string
	}{
		{nil, "shop", [3]doctor.Status{doctor.OK, doctor.OK, doctor.OK}, "all 8"},
		{lack(rights.Collectors, "create pods/exec"), "shop", [3]doctor.Status{doctor.Fail, doctor.OK, doctor.OK}, "create pods/exec"},
		{lack(rights.Targets, "get cronjobs.batch"), "shop", [3]doctor.Status{doctor.OK, doctor.Warn, doctor.OK}, "get cronjobs.batch (targets cronjob/NAME)"},
		{lack(rights.Targets, "list pods"), "shop", [3]doctor.Status{doctor.OK, doctor.Fail, doctor.OK}, "list pods"},
		{lack(rights.Cluster, "list nodes"), "", [3]doctor.Status{doctor.OK, doctor.Warn, doctor.OK}, "doctor on all nodes"},
		// The roles for one namespace do not give these.
		{lack(rights.Cluster, "list nodes", "watch nodes"), "shop", [3]doctor.Status{doctor.OK, doctor.OK, doctor.OK}, "targets in namespace shop: all"},
		{lack(rights.Cluster, "watch nodes"), "", [3]doctor.Status{doctor.OK, doctor.OK, doctor.Warn}, "watch nodes"},
		{lack(rights.APIService, "get services"), "shop", [3]doctor.Status{doctor.OK, doctor.OK, doctor.Warn}, "measure the API server"},
		{lack(rights.Collectors, "watch events"), "shop", [3]doctor.Status{doctor.OK, doctor.OK, doctor.Warn}, "say sooner"},
	} {
		checks := doctor.Rights(rights.Answer{Missing: test.missing}, "ops", test.targets, "advice --print-rbac")
		var details string
		for i, c := range checks {
			details += c.Detail
			if c.Status != test.want[i] || (c.Status == doctor.OK) != (c.Hint == "") {
				t.Errorf("missing %s: %+v", rights.Names(test.missing), c)
			}
		}
		if !strings.Contains(details, test.detail) {
			t.Errorf("missing %s: %q is not in %q", rights.Names(test.missing), test.detail, details)
		}
	}
}

// TestRightsUnknown: what cannot be asked for is not said to be there, and what is
// known to be missing counts.
func TestRightsUnknown(t *testing.T) {
	all := rights.All()
	found := rights.Answer{Unknown: all, Err: errors.New("webhook is away")}
	for _, c := range doctor.Rights(found, "ops", "shop", "advice") {
		if c.Status != doctor.Unknown || !strings.Contains(c.Detail, "more: webhook is away") {
			t.Errorf("%+v", c)
		}
	}
	found = rights.Answer{Missing: all[:1], Unknown: all[1:2], Err: found.Err}
	checks := doctor.Rights(found, "ops", "shop", "advice")
	if checks[0].Status != doctor.Fail || checks[1].Status != doctor.OK {
		t.Errorf("%+v", checks)
	}
}

func TestReport(t *testing.T) {
	r := &doctor.Report{APIVersion: doctor.APIVersion, Kind: doctor.Kind, Namespace: "ops", Image: "i"}
	r.Add(doctor.Check{Name: "rights", Status: doctor.OK, Detail: "all"})
	r.Add(doctor.Check{Name: "kernel", Node: "n1", Status: doctor.Warn, Detail: "two\nlines\x1b[31m", Hint: "do it"},
		doctor.Check{Name: "kernel", Node: "n2", Status: doctor.Warn, Detail: "again", Hint: "do it"})
	if r.Status != doctor.Warn || r.Count(doctor.Warn) != 2 {
		t.Errorf("status %s", r.Status)
	}
	var out bytes.Buffer
	if err := r.Print(&out, "table"); err != nil {
		t.Fatal(err)
	}
	want := "CHECK    NODE   STATUS   DETAIL\n" +
		"rights   -      ok       all\n" +
		"kernel   n1     warn     "
	if got := out.String(); !strings.HasPrefix(got, want) || strings.Count(got, "  hint: do it\n") != 1 || strings.Contains(got, "\x1b") {
		t.Errorf("table:\n%s", got)
	}
	r.Add(doctor.Check{Name: "nodes", Status: doctor.Unknown}, doctor.Check{Name: "namespace", Status: doctor.Fail}, doctor.Check{Name: "btf", Status: doctor.Warn})
	if r.Status != doctor.Fail {
		t.Errorf("status %s", r.Status)
	}
	out.Reset()
	if err := r.Print(&out, "json"); err != nil {
		t.Fatal(err)
	}
	var back doctor.Report
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || len(back.Checks) != 6 || back.Kind != "DoctorReport" {
		t.Errorf("%v: %s", err, out.String())
	}
}
