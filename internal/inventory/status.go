package inventory

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// judge finds the status of a node in what Kubernetes says of its pod.
func (n *Node) judge(pod *corev1.Pod) {
	container := collectorStatus(pod)
	if container != nil && container.State.Terminated != nil {
		n.judgeEnded(pod, container.State.Terminated)
	} else {
		n.judgeRunning(pod, container)
	}
	if pod.DeletionTimestamp != nil {
		n.Status, n.Reason, n.Hint = Ending, "", ""
	}
}

func collectorStatus(pod *corev1.Pod) *corev1.ContainerStatus {
	for i := range pod.Status.ContainerStatuses {
		if s := &pod.Status.ContainerStatuses[i]; s.Name == collectorContainer {
			return s
		}
	}
	return nil
}

func (n *Node) judgeRunning(pod *corev1.Pod, container *corev1.ContainerStatus) {
	switch {
	case pod.Status.Phase == corev1.PodFailed:
		n.Status, n.Reason = Failed, podReason(pod)
	case pod.Status.Phase == corev1.PodSucceeded:
		n.Status = Done
	case container != nil && container.State.Running != nil:
		n.Status = Running
	default:
		n.Status = Starting
		if container != nil && container.State.Waiting != nil {
			n.Reason = waitingReason(container.State.Waiting)
		}
	}
}

// waitingReason says why a container does not start, if that is not the way of
// all containers.
func waitingReason(w *corev1.ContainerStateWaiting) string {
	switch w.Reason {
	case "", "ContainerCreating", "PodInitializing":
		return ""
	}
	return oneline.Text(w.Reason)
}

// judgeEnded takes a collector's last word, and else says how it ended.
func (n *Node) judgeEnded(pod *corev1.Pod, t *corev1.ContainerStateTerminated) {
	n.Status = Done
	if t.ExitCode != 0 || pod.Status.Phase == corev1.PodFailed {
		n.Status = Failed
	}
	var word wire.Status
	if json.Unmarshal([]byte(t.Message), &word) == nil && word.Phase != "" {
		status := n.Status
		n.take(word)
		if n.Status.Active() { // it cannot do that any more
			n.Status = status
		}
	}
	if n.Status == Failed && n.Reason == "" {
		n.Reason = endReason(pod, t)
	}
}

// endReason is why a container ended that has said nothing itself.
func endReason(pod *corev1.Pod, t *corev1.ContainerStateTerminated) string {
	if reason := podReason(pod); reason != "" {
		return reason
	}
	reason := t.Reason
	if reason == "" || reason == "Error" {
		reason = fmt.Sprintf("exit code %d", t.ExitCode)
	}
	if lines := strings.Split(strings.TrimSpace(t.Message), "\n"); t.Message != "" && !strings.HasPrefix(t.Message, "{") {
		reason += ": " + lines[len(lines)-1]
	}
	return oneline.Text(reason)
}

// podReason is why Kubernetes has ended a pod: "Evicted: the node was low on …".
func podReason(pod *corev1.Pod) string {
	if pod.Status.Reason == "" {
		return oneline.Text(pod.Status.Message)
	}
	text := pod.Status.Reason
	if pod.Status.Message != "" {
		text += ": " + pod.Status.Message
	}
	return oneline.Text(text)
}

var sumPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// take takes what a collector says of itself.
func (n *Node) take(s wire.Status) {
	switch s.Phase {
	case wire.PhaseReady:
		n.Status = Starting
	case wire.PhaseCapturing:
		n.Status = Capturing
	case wire.PhaseFinishing, wire.PhaseStoring:
		n.Status = Uploading
	case wire.PhaseKept:
		n.Status = Kept
	case wire.PhaseDone:
		n.Status = Done
	case wire.PhaseFailed:
		n.Status = Failed
	}
	n.Reason, n.Hint = oneline.Text(s.Error), oneline.Text(s.Hint)
	n.Archive = oneline.Text(s.Archive)
	n.Counts = new(countsOf(&s))
	n.Bytes = max(0, cmp.Or(s.ArchiveBytes, s.StagedBytes))
	n.StartedAt, n.EndedAt, n.KeptUntil = moment(s.StartNS), moment(s.EndNS), moment(s.KeptUntilNS)
	n.Stores, n.Warnings = nil, nil
	for _, o := range s.Stores[:min(len(s.Stores), wire.MaxDestinations)] {
		one := Store{
			Where: oneline.Text(o.Where), Name: oneline.Text(o.Name), Bytes: max(0, o.Bytes), Done: o.Done,
			Error: oneline.Text(o.Error), Hint: oneline.Text(o.Hint),
		}
		if sumPattern.MatchString(o.SHA256) {
			one.SHA256 = o.SHA256
		}
		n.Stores = append(n.Stores, one)
	}
	for _, warning := range s.Warnings {
		n.Warnings = append(n.Warnings, oneline.Text(warning))
	}
	if n.Status == Kept && n.Reason == "" {
		n.keptReason()
	}
}

// keptReason says why an archive waits, which the failure of a destination does.
func (n *Node) keptReason() {
	for _, s := range n.Stores {
		if !s.Done && s.Error != "" {
			n.Reason, n.Hint = "not stored at "+s.Where+": "+s.Error, s.Hint
			return
		}
	}
}

// moment is a time in ns since 1970, 0 for none.
func moment(ns int64) *time.Time {
	if ns <= 0 {
		return nil
	}
	return new(time.Unix(0, ns).UTC())
}

// order is how far from its end a state is.
func order() []State {
	return []State{Ending, Capturing, Running, Starting, Uploading, Kept, Failed, Done}
}

// sum makes the whole of its nodes.
func (c *Capture) sum() {
	c.Pods, c.Bytes, c.Counts, c.KeptUntil = 0, 0, nil, nil
	destinations := append([]string{}, c.Destinations...)
	for i := range c.Nodes {
		n := &c.Nodes[i]
		c.Pods += n.Pods
		c.Bytes += n.Bytes
		if n.Counts != nil {
			if c.Counts == nil {
				c.Counts = new(Counts)
			}
			c.Counts.add(*n.Counts)
		}
		if n.Status == Kept && n.KeptUntil != nil && (c.KeptUntil == nil || n.KeptUntil.Before(*c.KeptUntil)) {
			c.KeptUntil = n.KeptUntil
		}
		for _, s := range n.Stores {
			if s.Where != "" && !slices.Contains(destinations, s.Where) {
				destinations = append(destinations, s.Where)
			}
		}
	}
	if len(c.Destinations) == 0 { // the lease knows better what was asked for
		c.Destinations = destinations
	}
	c.Status, c.Reason = c.judge()
}

// judge is the status of the whole.
func (c *Capture) judge() (State, string) {
	switch {
	case c.lease.ending || !c.lease.exists:
		return Ending, ""
	case len(c.Nodes) == 0 && c.Mode == ModeDetached:
		return Failed, "its collectors are gone"
	case len(c.Nodes) == 0:
		return Starting, ""
	}
	for _, state := range order() {
		var reasons []string
		for i := range c.Nodes {
			if n := &c.Nodes[i]; n.Status == state {
				reasons = append(reasons, c.reasonOf(n))
			}
		}
		if len(reasons) > 0 {
			return state, c.reason(state, reasons)
		}
	}
	return Starting, ""
}

func (c *Capture) reasonOf(n *Node) string {
	if n.Reason == "" || len(c.Nodes) == 1 {
		return n.Reason
	}
	return "node " + n.Name + ": " + n.Reason
}

// reason joins the reasons of the nodes in a state, as far as one line has room
// for them, with what is wrong elsewhere.
func (c *Capture) reason(state State, reasons []string) string {
	reasons = slices.DeleteFunc(reasons, func(r string) bool { return r == "" })
	var text string
	if len(reasons) > 0 {
		text = reasons[0]
		if more := len(reasons) - 1; more > 0 {
			text += fmt.Sprintf(" (and %d more)", more)
		}
	}
	if failed := c.Failures(); state != Failed && failed > 0 {
		text = strings.TrimPrefix(text+fmt.Sprintf("; failed on %d of %d nodes", failed, len(c.Nodes)), "; ")
	}
	return text
}
