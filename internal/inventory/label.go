package inventory

import (
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubectl-retina/kubectl-retina/internal/session"
)

// Annotations of a capture's lease.
const (
	AnnotationMode         = "retina.sh/mode" // one of the modes
	AnnotationTargets      = "retina.sh/targets"
	AnnotationDestinations = "retina.sh/destinations" // joined with ", "
	AnnotationDuration     = "retina.sh/duration"     // as in 2m
)

// Names that package session gives its objects.
const (
	programName = session.ProgramName

	labelName      = session.LabelName
	labelManagedBy = session.LabelManagedBy
	labelRun       = session.LabelRun
	labelComponent = session.LabelComponent
	labelCapture   = session.LabelCapture

	componentCollector = session.ComponentCollector
	componentLease     = session.ComponentLease

	annotationNode = session.AnnotationNode
	annotationPods = session.AnnotationPods

	collectorContainer = session.CollectorContainer
	keepCommand        = session.KeepCommand
	pvcVolume          = session.PVCVolume
	hostVolume         = session.HostVolume
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
