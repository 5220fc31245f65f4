//go:build linux && !unit

package e2e

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// tshark reads a capture file with the given options. Anything that it says
// beside its output fails the test, except that root should not run it.
func tshark(t testing.TB, file string, args ...string) string {
	t.Helper()
	return quietly(t, "tshark", append([]string{"-r", file}, args...)...)
}

// capinfos describes a capture file.
func capinfos(t testing.TB, file string) string {
	t.Helper()
	return quietly(t, "capinfos", file)
}

func quietly(t testing.TB, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	complaint := strings.ReplaceAll(stderr.String(), `Running as user "root" and group "root". This could be dangerous.`, "")
	if err != nil || strings.TrimSpace(complaint) != "" {
		t.Fatalf("%s %q: %v\n%s", program, args, err, stderr.String())
	}
	return stdout.String()
}

// rows returns the fields of the packets that a display filter selects.
func rows(t testing.TB, file, filter string, fields ...string) [][]string {
	t.Helper()
	args := []string{"-Y", filter, "-T", "fields"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	var all [][]string
	for line := range strings.Lines(tshark(t, file, args...)) {
		all = append(all, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return all
}

// A summary is what -o json prints, as its documentation has it; unknown
// fields are an error, so that it and the program agree.
type summary struct {
	APIVersion, Kind, Name, Filter    string
	Packets, Bytes, Lost, Overwritten uint64
	Complete, Detached                bool
	Limit                             string
	DurationSeconds                   float64
	Files, Warnings                   []string
	Archives                          []struct {
		Node, Where, Name, SHA256, Error string
		Bytes                            int64
	}
	Nodes []struct {
		Name          string
		Ready         bool
		Packets, Lost uint64
		Error         string
		Interfaces    []interfaceSummary
		Pods          []struct {
			Namespace, Name, Error string
			Joined, Left           string
			HostNetwork            bool
			Interfaces             []interfaceSummary
		}
	}
}

type interfaceSummary struct {
	Name, Vantage        string
	Packets, Bytes, Lost uint64
}

func parseSummary(t testing.TB, text string) summary {
	t.Helper()
	var s summary
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		t.Fatalf("summary: %v\n%s", err, text)
	}
	if s.APIVersion != "retina.sh/v1alpha1" || s.Kind != "CaptureSummary" || s.Warnings == nil || s.Files == nil {
		t.Errorf("summary %+v", s)
	}
	return s
}
