package wire_test

import (
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestParseSpec(t *testing.T) {
	if spec, err := wire.ParseSpec([]byte(`{"version":7,"packets":{"snapLen":64,"filter":{"objects":2}}}`)); err != nil || spec.Version != 7 || spec.Packets.Filter.Objects != 2 {
		t.Errorf("%+v, %v", spec, err)
	}
	for text, want := range map[string]string{
		`{"packets":{"sieve":{}}}`: `unknown field "sieve"`,
		`{"version":2}{}`:          "behind it",
		`{"version":`:              "EOF",
		``:                         "EOF",
	} {
		if _, err := wire.ParseSpec([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
