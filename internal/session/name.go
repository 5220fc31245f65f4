package session

import (
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/labels"
)

// Labels and annotations of everything that a run creates.
const (
	programName = "kubectl-retina"

	labelName      = "app.kubernetes.io/name"
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelRun       = "retina.sh/run"
	labelComponent = "retina.sh/component"

	componentCollector = "collector"
	componentLease     = "lease"

	annotationNode = "retina.sh/node"
)

func objectLabels(runID, component string) map[string]string {
	return map[string]string{
		labelName:      programName,
		labelManagedBy: programName,
		labelRun:       runID,
		labelComponent: component,
	}
}

// runSelector selects the collector pods of one run.
func runSelector(runID string) string {
	return labels.Set{labelRun: runID, labelComponent: componentCollector}.String()
}

// collectorSelector selects the collector pods of every run.
func collectorSelector() string {
	return labels.Set{labelName: programName, labelComponent: componentCollector}.String()
}

// Names are a prefix, the run's ID and the pod's number within the run. A
// number cannot collide as a hash of the node's name can, and fits in a label.
func leaseName(runID string) string           { return "retina-" + runID }
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
