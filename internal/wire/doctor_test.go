package wire_test

import (
	"strings"
	"testing"

	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

func TestDoctorSpecValidate(t *testing.T) {
	good := func() *wire.Spec {
		return &wire.Spec{Version: wire.Version, RunID: "a1", MaxSeconds: 10, Doctor: &wire.DoctorSpec{Plugins: []string{"dns"}, StreamMS: 1000}}
	}
	if err := good().Validate(); err != nil {
		t.Fatalf("a good spec: %v", err)
	}
	for want, spoil := range map[string]func(*wire.Spec){
		"33 plugins":     func(s *wire.Spec) { s.Doctor.Plugins = make([]string, 33) },
		"without a name": func(s *wire.Spec) { s.Doctor.Plugins = []string{""} },
		"10001 ms":       func(s *wire.Spec) { s.Doctor.StreamMS = 10_001 },
		"-1 ms":          func(s *wire.Spec) { s.Doctor.StreamMS = -1 },
		"something else": func(s *wire.Spec) { s.Metrics = &wire.MetricsSpec{} },
	} {
		s := good()
		spoil(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}
