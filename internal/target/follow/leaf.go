package follow

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

// podItem is what is kept of a pod that a source reads.
type podItem struct {
	pod target.Pod
	// begins says that it can be measured from now on, stays that it can still be if
	// it was before.
	begins, stays bool
	// sandbox is when its network namespace was made, in s since 1970; 0 if that is
	// not known.
	sandbox int64
}

func (p podItem) key() string  { return p.pod.String() }
func (p podItem) sort() string { return p.pod.String() }
func (p podItem) id() string   { return p.pod.UID }

// podLeaf is the sink of a source that reads pods.
type podLeaf struct{ *source }

func (l podLeaf) convert(object runtime.Object) item {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return nil
	}
	if ref := metav1.GetControllerOfNoCopy(pod); l.owner != "" && (ref == nil || ref.UID != l.owner) {
		return nil
	}
	kept, asNew := target.Observe(pod, l.named)
	_, asKnown := target.Observe(pod, true)
	if asKnown != "" {
		return nil
	}
	return podItem{kept, asNew == "", true, sandboxMade(pod)}
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

func (l podLeaf) replace(items []item) {
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

func (l podLeaf) set(it item) { l.update(func() { l.apply(it) }) }

func (l podLeaf) remove(key string) { l.update(func() { l.drop(key) }) }

func (l podLeaf) apply(it item) {
	now, ok := it.(podItem)
	if !ok {
		return
	}
	key, uid := now.key(), now.pod.UID
	if before, ok := l.held[key]; ok && before != uid {
		l.drop(key)
	}
	known, held := l.follower.pods.held(uid)
	if !now.begins && !held {
		return // it is on its way out, and was never in
	}
	l.held[key] = uid
	merged, changed := now, false
	if held {
		merged, changed = now.after(known)
	}
	l.follower.pods.hold(merged, l.source, changed)
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

// drop gives up a pod that has ended, is gone or does not match any more. It may
// have been resolved at first, or left by a source that has ended: then this is
// the news about it.
func (l podLeaf) drop(key string) {
	uid, ok := l.held[key]
	if !ok {
		return
	}
	delete(l.held, key)
	l.follower.pods.release(uid, l.source, claimFirst, claimGrace)
}

// nodeItem is what is kept of a node that is a target itself.
type nodeItem struct {
	uid  string
	node target.Node
}

func (n nodeItem) key() string  { return "/" + n.node.Name }
func (n nodeItem) sort() string { return n.node.Name }
func (n nodeItem) id() string   { return n.uid }

// nodeLeaf is the sink of a source that reads nodes.
type nodeLeaf struct{ *source }

func (l nodeLeaf) convert(object runtime.Object) item {
	node, ok := object.(*corev1.Node)
	if !ok || len(l.names) > 0 && !slices.Contains(l.names, node.Name) {
		return nil
	}
	kept, linux := target.ObserveNode(node)
	if !linux {
		return nil
	}
	return nodeItem{string(node.UID), kept}
}

func (l nodeLeaf) replace(items []item) {
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

func (l nodeLeaf) set(it item) { l.update(func() { l.apply(it) }) }

func (l nodeLeaf) remove(key string) { l.update(func() { l.drop(key) }) }

// apply takes up a node. One that is known stays as it is: its object changes with
// every sign of life and nobody needs it twice.
func (l nodeLeaf) apply(it item) {
	now, ok := it.(nodeItem)
	if !ok {
		return
	}
	if before, ok := l.held[now.key()]; ok && before != now.uid {
		l.drop(now.key())
	}
	l.held[now.key()] = now.uid
	if known, held := l.follower.nodes.held(now.uid); held {
		now = known
	}
	l.follower.nodes.hold(now, l.source, false)
}

func (l nodeLeaf) drop(key string) {
	uid, ok := l.held[key]
	if !ok {
		return
	}
	delete(l.held, key)
	l.follower.nodes.release(uid, l.source, claimFirst, claimGrace)
}
