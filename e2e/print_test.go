//go:build linux && !unit

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// address is the service's own.
func (s *shop) address(t testing.TB, service string) string {
	t.Helper()
	found, err := the.client.CoreV1().Services(s.namespace).Get(t.Context(), service, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found.Spec.ClusterIP
}

// What is printed while the capture goes on is what capture read makes of its file:
// with the names of pods and services.
func TestPrintedWithNames(t *testing.T) {
	s := openShop(t, "")
	p, file := startCapture(t, "pod/client-n2", "pod/web-n1", "-n", s.namespace, "--duration", "0", "--print")
	p.waitFor(t, "capturing")
	s.get(t, s.client["n2"], s.web["n1"], "/direct", 3)
	s.traffic(t, s.client["n2"], "http-get", "--url", "http://"+s.address(t, "web")+"/service", "--count", "2")
	name := regexp.QuoteMeta(s.namespace)
	request := regexp.MustCompile(fmt.Sprintf(`(?m)^\d\d:\d\d:\d\d\.\d{6} %[1]s/client-n2/eth0 Out IP %[1]s/client-n2\.\d+ > %[1]s/web-n1\.8080: Flags \[P\.\], seq 1:\d+, ack 1, .*: HTTP: GET /direct HTTP/1\.1$`, name))
	eventually(t, 5*time.Second, func() error {
		if len(request.FindAllString(p.stdout.String(), -1)) != 3 {
			return fmt.Errorf("no three requests yet: %s", p.stdout.String())
		}
		return nil
	})
	if p.exited() {
		t.Error("the lines came after the end")
	}
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	r.wantCode(t, 130)
	for _, want := range []string{
		fmt.Sprintf(`%[1]s/client-n2/eth0 Out IP %[1]s/client-n2\.\d+ > svc %[1]s/web\.80: Flags \[S\], seq \d+, win \d+, options \[.*\], length 0\n`, name),
		fmt.Sprintf(`%[1]s/client-n2/eth0 In  IP svc %[1]s/web\.80 > %[1]s/client-n2\.\d+: .*: HTTP: HTTP/1\.1 200 OK\n`, name),
		fmt.Sprintf(`%[1]s/web-n1/eth0 In  IP %[1]s/client-n2\.\d+ > %[1]s/web-n1\.8080: .*: HTTP: GET /direct HTTP/1\.1\n`, name),
	} {
		if !regexp.MustCompile(want).MatchString(r.stdout) {
			t.Errorf("no line is like %s:\n%s", want, r.stdout)
		}
	}
	if again := retina(t, "capture", "read", file); again.stdout != r.stdout {
		t.Errorf("printed live:\n%s\nread from the file:\n%s", r.stdout, again.stdout)
	}
	if again := retina(t, "capture", "filter", "--packets", file, "svc "+s.namespace+"/web"); again.stdout !=
		fmt.Sprintf("%d of %d packets match\n", len(rows(t, file, "ip.addr == "+s.address(t, "web"), "frame.number")), strings.Count(r.stdout, "\n")) {
		t.Errorf("filtered by the service: %s", again)
	}
	if lines, packets := strings.Count(r.stdout, "\n"), strings.Count(tshark(t, file), "\n"); lines != packets {
		t.Errorf("%d lines of %d packets", lines, packets)
	}
	wantNothingLeft(t)
}

func TestPrintedAsJSON(t *testing.T) {
	s := openShop(t, "")
	p := start(t, "capture", "create", "pod/client-n2", "-n", s.namespace, "--collector-namespace", collectorNamespace, "--duration", "0", "--print", "-o", "json")
	p.waitFor(t, "capturing")
	s.get(t, s.client["n2"], s.web["n1"], "/json", 3)
	p.signal(t, syscall.SIGINT)
	r := p.wait(t)
	r.wantCode(t, 130)
	type end struct {
		Name, Address string
		Port          int
	}
	packets, requests := 0, 0
	for line := range strings.Lines(r.stdout) {
		var record struct {
			Interface, Pod, Node, Direction string
			Source, Destination             end
			HTTP                            struct{ Method, Target string }
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if packets++; record.Pod != s.namespace+"/client-n2" || record.Node != "n2" {
			t.Errorf("%s", line)
		}
		if record.HTTP.Target == "/json" {
			requests++
			if record.Destination != (end{s.namespace + "/web-n1", s.web["n1"].Status.PodIP, 8080}) || record.Source.Name != s.namespace+"/client-n2" || record.Direction != "egress" {
				t.Errorf("request %s", line)
			}
		}
	}
	if want := fmt.Sprintf("standard output: %d packets from 1 pod on 1 node, 0 lost", packets); requests != 3 || !strings.Contains(r.stderr, want) {
		t.Errorf("%d requests, and %q is not in stderr:\n%s", requests, want, r.stderr)
	}
	if left, err := os.ReadDir(p.Dir); err != nil || len(left) != 0 {
		t.Errorf("files were written: %v, %v", left, err)
	}
	wantNothingLeft(t)
}

// A reader that has seen enough ends the capture in order: the file is whole.
func TestHeadEndsAPrintedCapture(t *testing.T) {
	s := openShop(t, "")
	file := filepath.Join(t.TempDir(), "x.pcapng")
	p := &process{Cmd: the.Command(t.Context(), "bash", "-c", `set -o pipefail; "$0" "$@" | head -n 3`, the.program,
		"capture", "create", "pod/web-n1", "-n", s.namespace, "--collector-namespace", collectorNamespace, "--duration", "60s", "--print=full", "--write", file), started: time.Now()}
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.waitFor(t, "capturing")
	s.get(t, s.client["n2"], s.web["n1"], "/enough", 100)
	r := p.wait(t)
	r.wantCode(t, 0)
	if r.took > 40*time.Second || strings.Count(r.stdout, "\n") != 3 || !strings.Contains(r.stderr, "ended by the reader") || strings.Contains(r.stderr, "incomplete") {
		t.Errorf("%s", r)
	}
	if info := capinfos(t, file); !strings.Contains(info, "Number of stat entries = 1") || strings.Contains(info, "incomplete") {
		t.Errorf("capinfos:\n%s", info)
	}
	wantNothingLeft(t)
}

// fakeWireshark makes a program with that name which does what script says, in an
// environment with a display.
func fakeWireshark(t testing.TB, script string) []string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "wireshark"), []byte("#!/bin/bash\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "DISPLAY=:7"}
}

// Wireshark has what the file has, with names. Ctrl-C at the terminal ends the capture,
// and leaves Wireshark with what it has.
func TestWiresharkHasTheStream(t *testing.T) {
	s := openShop(t, "")
	dir := t.TempDir()
	file, seen := filepath.Join(dir, "x.pcapng"), filepath.Join(dir, "seen")
	env := fakeWireshark(t, fmt.Sprintf("echo \"$@\" >%[1]s.args\ntshark -N mn -l -r - >%[1]s 2>/dev/null\ntouch %[1]s.end; sleep 3; touch %[1]s.later\n", seen))
	p := startIn(t, dir, env, "capture", "create", "pod/web-n1", "-n", s.namespace, "--collector-namespace", collectorNamespace, "--duration", "60s", "--wireshark", "--write", file)
	p.waitFor(t, "capturing")
	s.get(t, s.client["n2"], s.web["n1"], "/shown", 5)
	p.signal(t, syscall.SIGINT)
	p.wait(t).wantCode(t, 130)
	eventually(t, 10*time.Second, func() error { _, err := os.Stat(seen + ".later"); return err })
	text, err := os.ReadFile(seen)
	if err != nil || strings.Count(string(text), "GET /shown") != 5 || !strings.Contains(string(text), "web-n1."+s.namespace) {
		t.Errorf("%v:\n%s", err, text)
	}
	if want := tshark(t, file, "-N", "mn"); want != string(text) {
		t.Errorf("the file has\n%s\nWireshark has\n%s", want, text)
	}
	if args, err := os.ReadFile(seen + ".args"); err != nil || string(args) != "-k -N mn -i -\n" {
		t.Errorf("%q, %v", args, err)
	}
	wantNothingLeft(t)
}

// Closing Wireshark ends the capture in order, also while there are no packets.
func TestClosedWiresharkEndsTheCapture(t *testing.T) {
	s := openShop(t, "")
	p := startIn(t, t.TempDir(), fakeWireshark(t, "sleep 4\n"), "capture", "create", "pod/web-n1", "-n", s.namespace, "--collector-namespace", collectorNamespace, "--duration", "60s", "--wireshark")
	r := p.wait(t)
	r.wantCode(t, 0)
	if r.took > 40*time.Second || strings.Contains(r.stderr, "incomplete") {
		t.Errorf("%s", r)
	}
	wantNothingLeft(t)
}

func TestNoWiresharkIsToldFirst(t *testing.T) {
	r := startIn(t, t.TempDir(), []string{"PATH=" + t.TempDir()}, "capture", "create", "pod/absent", "--wireshark").wait(t)
	r.wantError(t, 1, "no Wireshark is on this machine", "hint: install it")
}
