package session

import (
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
)

// Names of what a run creates. Everything has the labels but LabelCapture, which is
// of captures only; AnnotationNode and AnnotationPods, the number of pods that it
// captures, are of collector pods.
const (
	ProgramName = "kubectl-retina"

	LabelName      = "app.kubernetes.io/name"
	LabelManagedBy = "app.kubernetes.io/managed-by"
	LabelRun       = "retina.sh/run"
	LabelComponent = "retina.sh/component"
	LabelCapture   = "retina.sh/capture"

	ComponentCollector = "collector"
	ComponentShell     = "shell"
	ComponentLease     = "lease"

	AnnotationNode = "retina.sh/node"
	AnnotationPods = "retina.sh/pods"
)

func objectLabels(runID, capture, component string) map[string]string {
	all := map[string]string{
		LabelName:      ProgramName,
		LabelManagedBy: ProgramName,
		LabelRun:       runID,
		LabelComponent: component,
	}
	if capture != "" {
		all[LabelCapture] = capture
	}
	return all
}

// MaxCaptureName is the longest name of a capture: with its prefix it names a
// Job, whose name is a label of 63 characters at most.
const MaxCaptureName = 48

// CheckName reports a name that a capture cannot have: it names objects.
func CheckName(name string) error {
	if len(name) > MaxCaptureName {
		return fmt.Errorf("name %q is longer than %d characters", name, MaxCaptureName)
	}
	if errs := validation.IsDNS1123Label(name); len(errs) > 0 {
		return hint.Wrap(fmt.Errorf("%q cannot be the name of a capture", name), "use lower-case letters, digits and dashes")
	}
	return nil
}

// UniqueName returns base, made fit for the name of a capture, with a suffix
// that chance has chosen.
func UniqueName(base string, random io.Reader) (string, error) {
	id, err := newID(random)
	if err != nil {
		return "", fmt.Errorf("name of the capture: %w", err)
	}
	suffix := "-" + id[:5]
	base = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, base)
	base = strings.Trim(base[:min(len(base), MaxCaptureName-len(suffix))], "-")
	if base == "" {
		base = "capture"
	}
	return base + suffix, nil
}

// runSelector selects the pods of one run.
func runSelector(runID string) string {
	return labels.Set{LabelRun: runID}.String() + "," + podComponents()
}

// collectorSelector selects the pods of every run.
func collectorSelector() string {
	return labels.Set{LabelName: ProgramName}.String() + "," + podComponents()
}

func podComponents() string {
	return fmt.Sprintf("%s in (%s,%s)", LabelComponent, ComponentCollector, ComponentShell)
}

// Names are a prefix, the run's ID and the pod's number within the run. A
// number cannot collide as a hash of the node's name can, and fits in a label.
func leaseName(runID, capture string) string {
	if capture != "" {
		return "retina-capture-" + capture // which makes the API server see to it that names are unique
	}
	return "retina-" + runID
}

func podName(runID string, number int) string { return fmt.Sprintf("retina-%s-%d", runID, number) }

const (
	idLength   = 10
	idAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
)

// newID draws a run ID: lower-case letters and digits, 51 bits of chance.
func newID(random io.Reader) (string, error) {
	// Bytes from the last, incomplete repetition of the alphabet would make its
	// first letters likelier.
	const fair = 256 - 256%len(idAlphabet)
	id := make([]byte, 0, idLength)
	var b [1]byte
	for len(id) < idLength {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return "", err
		}
		if int(b[0]) < fair {
			id = append(id, idAlphabet[int(b[0])%len(idAlphabet)])
		}
	}
	return string(id), nil
}
