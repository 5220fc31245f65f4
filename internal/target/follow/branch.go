package follow

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
)

// A branch is the sink of a source whose objects stand for pods elsewhere.
type branch struct{ *source }

// twigItem is an object with what it stands for.
type twigItem struct {
	name  string
	specs map[string]spec
}

func (t twigItem) key() string { return t.name }

func (b branch) convert(object runtime.Object) item {
	m, err := meta.Accessor(object)
	if err != nil {
		return nil
	}
	return twigItem{keyOf(m), b.grow(object)}
}

func (b branch) replace(items []item) {
	b.update(func() {
		// What is new begins before what is gone ends: a pod may move from one to the
		// other.
		gone := missing(b.grown, items)
		for _, it := range items {
			b.apply(it)
		}
		for _, key := range gone {
			b.drop(key)
		}
		b.synced()
	})
}

func (b branch) set(it item) { b.update(func() { b.apply(it) }) }

func (b branch) remove(key string) { b.update(func() { b.drop(key) }) }

// apply makes the sources of an object those that it stands for now.
func (b branch) apply(it item) {
	twig, ok := it.(twigItem)
	if !ok {
		return
	}
	before := b.grown[twig.name]
	if len(twig.specs) == 0 && b.sticky && before != nil {
		return
	}
	now := make(map[string]*source, len(twig.specs))
	for key, spec := range twig.specs {
		if now[key] = before[key]; now[key] == nil {
			now[key] = b.follower.start(b.ctx, spec)
		}
	}
	b.grown[twig.name] = now
	for key, child := range before {
		if now[key] == nil {
			child.end()
		}
	}
}

func (b branch) drop(key string) {
	sources := b.grown[key]
	delete(b.grown, key)
	for _, child := range sources {
		child.end()
	}
}
