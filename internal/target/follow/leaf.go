package follow

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// A leaf is the sink of a source that reads what is selected itself: pods or nodes.
type leaf[R leafItem] struct {
	*source
	ledger *ledger[R]
	// keep returns what to keep of an object, if it is to be kept.
	keep func(*source, runtime.Object) (R, bool)
	// enter returns what to hold of now, with what is known of it if it is held by
	// anybody already: whether that is other than before, and whether it is selected.
	enter func(now, known R, held bool) (merged R, changed, in bool)
}

type leafItem interface {
	item
	record
}

func (l leaf[R]) convert(object runtime.Object) item {
	if kept, ok := l.keep(l.source, object); ok {
		return kept
	}
	return nil
}

func (l leaf[R]) replace(items []item) {
	l.update(func() {
		for _, key := range missing(l.held, items) {
			l.drop(key)
		}
		for _, it := range items {
			l.apply(it)
		}
		l.synced()
	})
}

func (l leaf[R]) set(it item) { l.update(func() { l.apply(it) }) }

func (l leaf[R]) remove(key string) { l.update(func() { l.drop(key) }) }

func (l leaf[R]) apply(it item) {
	now, ok := it.(R)
	if !ok {
		return
	}
	key, uid := now.key(), now.id()
	if before, ok := l.held[key]; ok && before != uid {
		l.drop(key)
	}
	known, held := l.ledger.held(uid)
	merged, changed, in := l.enter(now, known, held)
	if !in {
		return
	}
	l.held[key] = uid
	l.ledger.hold(merged, l.source, changed)
}

// drop gives up what has ended, is gone or does not match any more. It may have
// been resolved at first, or left by a source that has ended: then this is the news
// about it.
func (l leaf[R]) drop(key string) {
	uid, ok := l.held[key]
	if !ok {
		return
	}
	delete(l.held, key)
	l.ledger.release(uid, l.source, claimFirst, claimGrace)
}

// podItem is what is kept of a pod that a source reads.
type podItem struct {
	pod target.Pod
	// begins says that it can be measured from now on; otherwise it still can be if it
	// was before.
	begins bool
	// sandbox is when its network namespace was made, in s since 1970; 0 if that is
	// not known.
	sandbox int64
}

func (p podItem) key() string  { return p.pod.String() }
func (p podItem) sort() string { return p.pod.String() }
func (p podItem) id() string   { return p.pod.UID }

func (s *source) podLeaf() leaf[podItem] {
	return leaf[podItem]{source: s, ledger: s.follower.pods, keep: keepPod, enter: podItem.enter}
}

func keepPod(s *source, object runtime.Object) (podItem, bool) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return podItem{}, false
	}
	if ref := metav1.GetControllerOfNoCopy(pod); s.owner != "" && (ref == nil || ref.UID != s.owner) {
		return podItem{}, false
	}
	kept, asNew := target.Observe(pod, s.named)
	_, asKnown := target.Observe(pod, true)
	return podItem{kept, asNew == "", sandboxMade(pod)}, asKnown == ""
}

// sandboxMade returns when the kubelet has made the pod's network namespace: when
// it made another the pod keeps its UID and even its containers' names, and may
// keep its addresses. Kubernetes 1.29 and later say so.
func sandboxMade(pod *corev1.Pod) int64 {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Unix()
		}
	}
	return 0
}

func (p podItem) enter(known podItem, held bool) (podItem, bool, bool) {
	if !held {
		return p, false, p.begins // else it is on its way out, and was never in
	}
	merged, changed := p.after(known)
	return merged, changed, true
}

// after returns what is known of a pod now, and whether its network namespace is
// another than before. While the kubelet makes a new one there are no addresses;
// the old ones are kept until then.
func (p podItem) after(before podItem) (podItem, bool) {
	if p.sandbox == 0 {
		p.sandbox = before.sandbox
	}
	if len(p.pod.IPs) == 0 {
		p.pod.IPs = before.pod.IPs
	}
	remade := before.sandbox != 0 && p.sandbox != before.sandbox
	moved := len(before.pod.IPs) > 0 && !slices.Equal(p.pod.IPs, before.pod.IPs)
	return p, remade || moved
}

// nodeItem is what is kept of a node that is a target itself.
type nodeItem struct {
	uid  string
	node target.Node
}

func (n nodeItem) key() string  { return "/" + n.node.Name }
func (n nodeItem) sort() string { return n.node.Name }
func (n nodeItem) id() string   { return n.uid }

func (s *source) nodeLeaf() leaf[nodeItem] {
	return leaf[nodeItem]{source: s, ledger: s.follower.nodes, keep: keepNode, enter: nodeItem.enter}
}

func keepNode(s *source, object runtime.Object) (nodeItem, bool) {
	node, ok := object.(*corev1.Node)
	if !ok || len(s.names) > 0 && !slices.Contains(s.names, node.Name) {
		return nodeItem{}, false
	}
	kept, linux := target.ObserveNode(node)
	return nodeItem{string(node.UID), kept}, linux
}

// enter takes up a node. One that is known stays as it is: its object changes with
// every sign of life and nobody needs it twice.
func (n nodeItem) enter(known nodeItem, held bool) (nodeItem, bool, bool) {
	if held {
		return known, false, true
	}
	return n, false, true
}
