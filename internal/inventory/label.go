package inventory

import (
	"k8s.io/apimachinery/pkg/labels"
)

// Annotations of a capture's lease.
const (
	AnnotationMode         = "retina.sh/mode" // one of the modes
	AnnotationTargets      = "retina.sh/targets"
	AnnotationDestinations = "retina.sh/destinations" // joined with ", "
	AnnotationDuration     = "retina.sh/duration"     // as in 2m
)

// Labels and annotations that package session gives its objects.
const (
	programName = "kubectl-retina"

	labelName      = "app.kubernetes.io/name"
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelRun       = "retina.sh/run"
	labelComponent = "retina.sh/component"
	labelCapture   = "retina.sh/capture"

	componentCollector = "collector"
	componentLease     = "lease"

	annotationNode = "retina.sh/node"
	annotationPods = "retina.sh/pods"

	collectorContainer = "collector"
	keepCommand        = "keep" // of a collector that stores
	pvcVolume          = "pvc"
	hostVolume         = "host"
)

// selector selects the objects of a component that belong to captures: to these,
// or to any.
func selector(component string, names []string) string {
	text := labels.Set{labelName: programName, labelComponent: component}.String() + "," + labelCapture
	if len(names) == 0 {
		return text
	}
	in, err := labels.NewRequirement(labelCapture, "in", names)
	if err != nil { // no label can have such a value
		return text
	}
	return labels.Set{labelName: programName, labelComponent: component}.String() + "," + in.String()
}
