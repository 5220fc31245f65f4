package verdict_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/e2e/kernels/verdict"
)

func TestRoundTrip(t *testing.T) {
	want := []verdict.Message{
		{Boot: &verdict.Boot{Release: "5.10.0"}},
		{Test: &verdict.Test{Suite: "dns", Name: "TestX/tcx", Result: verdict.Fail, Output: "a\nb \x1b[31m"}},
		{Probe: &verdict.Probe{Plugin: "packets", Refused: verdict.Reason{Cause: "no", Hint: "later"}}},
		{Done: true},
	}
	var port bytes.Buffer
	port.WriteString("[    0.1] Linux version\r\nhalf a li")
	w := verdict.NewWriter(&port, "secret")
	for _, m := range want {
		if err := w.Send(m); err != nil {
			t.Fatal(err)
		}
		port.WriteString(`somebody else {"done":true}` + "\r\n")
	}
	var got []verdict.Message
	if err := verdict.Read(&port, "secret", func(m verdict.Message) { got = append(got, m) }); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestWrongLines(t *testing.T) {
	for name, test := range map[string]struct {
		port string
		want error // nil: any
	}{
		"ends early":       {"m {\"boot\":{}}\n", verdict.ErrCut},
		"no JSON":          {"m nonsense\nm {\"done\":true}\n", nil},
		"a line too long":  {"m " + strings.Repeat("x", verdict.MaxLine+1), verdict.ErrTooMuch},
		"too many lines":   {strings.Repeat("\n", verdict.MaxLines+1), verdict.ErrTooMuch},
		"not the mark":     {"mm {\"done\":true}\n", verdict.ErrCut},
		"mark in the line": {"x m {\"done\":true}\n", verdict.ErrCut},
	} {
		t.Run(name, func(t *testing.T) {
			err := verdict.Read(strings.NewReader(test.port), "m", func(verdict.Message) {})
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add("m {\"test\":{\"suite\":\"a\"}}\nm {\"done\":true}\n")
	f.Fuzz(func(t *testing.T, port string) {
		done := false
		err := verdict.Read(strings.NewReader(port), "m", func(m verdict.Message) { done = done || m.Done })
		if (err == nil) != done {
			t.Errorf("done %v, error %v", done, err)
		}
	})
}
