package capture

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/pcapfilter"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/target/follow"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// retellGap is how long to wait for a stream that was cut.
const retellGap = time.Second

// watchAddresses finds the addresses of the objects that the filter names, and
// keeps them until ctx ends. It creates nothing.
func (r *captureRun) watchAddresses(ctx context.Context) error {
	objects := r.filterObjects()
	if len(objects) == 0 {
		return nil
	}
	var err error
	r.addresses, err = follow.WatchAddresses(ctx, r.cluster.Client, objects, func(err error) { r.warn("the filter's addresses: " + err.Error()) })
	if err != nil {
		return hint.Wrap(fmt.Errorf("--filter: %w", err), hint.Of(err))
	}
	if r.noWait {
		r.warn("the filter takes the addresses of " + objectList(r.config.filter.objects) + " as they are now: nobody stays to follow them")
	}
	now, _ := r.addresses.Current()
	if len(now) > wire.MaxFilterAddresses {
		return hint.Wrap(fmt.Errorf("--filter: %s have %d addresses, and a filter can know %d", objectList(r.config.filter.objects), len(now), wire.MaxFilterAddresses),
			"name a net instead")
	}
	for _, text := range addressWarnings(objects, now, r.addresses.HostNetwork()) {
		r.warn("--filter: " + text)
	}
	return nil
}

// filterObjects are the objects that the filter names, by their bits.
func (r *captureRun) filterObjects() []follow.Object {
	if r.config.filter == nil {
		return nil
	}
	var objects []follow.Object
	for _, ref := range r.config.filter.objects {
		o := follow.Object{Kind: ref.Kind.String(), Namespace: ref.Namespace, Name: ref.Name}
		if o.Namespace == "" && (ref.Kind == pcapfilter.Pod || ref.Kind == pcapfilter.Service) {
			o.Namespace = r.request.Namespace
		}
		objects = append(objects, o)
	}
	return objects
}

// addressWarnings are about objects by whose addresses packets cannot be told apart:
// those that have none, and pods that have their node's. hosts are bits of the latter.
func addressWarnings(objects []follow.Object, now map[netip.Addr]uint32, hosts uint32) []string {
	var all []string
	var have uint32
	for _, bits := range now {
		have |= bits
	}
	for bit, o := range objects {
		name := o.Kind + " " + o.Name
		if o.Namespace != "" {
			name = o.Kind + " " + o.Namespace + "/" + o.Name
		}
		switch {
		case have&(1<<bit) == 0:
			all = append(all, name+" has no address yet: nothing matches it")
		case hosts&(1<<bit) != 0:
			all = append(all, name+" has its node's address: everybody's packets there match it")
		}
	}
	return all
}

// filterSpec is the filter for the collector of n, with the addresses of the
// moment, which are remembered as told.
func (r *captureRun) filterSpec(n *nodeRun) *wire.FilterSpec {
	if r.config.filter == nil {
		return nil
	}
	spec := r.config.filter.spec
	if r.addresses != nil {
		n.addresses, _ = r.addresses.Current()
		spec.Addresses = changesOf(nil, n.addresses)
	}
	return &spec
}

// tellAddresses tells a collector, which knows some, of changes of the filter's
// addresses, until ctx ends or it cannot be told any more. Where it may be connected again,
// stream returns the stream of the moment and again is set.
func (r *captureRun) tellAddresses(ctx context.Context, known map[netip.Addr]uint32, stream func() *session.Session, again bool) {
	if r.addresses == nil {
		return
	}
	for {
		now, changed := r.addresses.Current()
		if changes, ok := addressNews(known, now); !ok {
			r.manyAddresses.Do(func() {
				r.warn(fmt.Sprintf("the filter's objects have %s addresses, and a filter can know %s: it keeps those that it knows until there are fewer",
					comma(uint64(len(now))), comma(wire.MaxFilterAddresses)))
			})
		} else if err := tellChanges(ctx, stream(), changes); err == nil {
			known = now
		} else if !again {
			return
		} else {
			changed = nil
		}
		select {
		case <-changed:
		case <-afterUnless(changed):
		case <-ctx.Done():
			return
		}
	}
}

// afterUnless is a pause where there is no change to wait for.
func afterUnless(changed <-chan struct{}) <-chan time.Time {
	if changed != nil {
		return nil
	}
	return time.After(retellGap)
}

func tellChanges(ctx context.Context, to *session.Session, changes []wire.FilterAddress) error {
	for part := range slices.Chunk(changes, wire.MaxAddressChanges) {
		if err := to.TellJSON(ctx, wire.KindAddresses, wire.Addresses{Changes: part}); err != nil {
			return err
		}
	}
	return nil
}

// addressNews is what a collector that knows some addresses is to be told; false: it
// cannot know as many.
func addressNews(known, now map[netip.Addr]uint32) (changes []wire.FilterAddress, ok bool) {
	if len(now) > wire.MaxFilterAddresses {
		return nil, false
	}
	return changesOf(known, now), true
}

// changesOf are what makes after of before, in the order of addresses. What is to be
// forgotten comes first, so that there is room for the others.
func changesOf(before, after map[netip.Addr]uint32) []wire.FilterAddress {
	var changes []wire.FilterAddress
	for addr, objects := range after {
		if before[addr] != objects {
			changes = append(changes, wire.FilterAddress{Addr: addr, Objects: objects})
		}
	}
	for addr := range before {
		if after[addr] == 0 {
			changes = append(changes, wire.FilterAddress{Addr: addr})
		}
	}
	slices.SortFunc(changes, func(a, b wire.FilterAddress) int {
		if forgotten := (a.Objects == 0); forgotten != (b.Objects == 0) {
			if forgotten {
				return -1
			}
			return 1
		}
		return a.Addr.Compare(b.Addr)
	})
	return changes
}

// planFilter is the filter for --dry-run=server.
func (r *captureRun) planFilter() *PlanFilter {
	f := r.config.filter
	if f == nil {
		return nil
	}
	plan := &PlanFilter{Text: f.text, Program: f.ethernet.String(), Instructions: len(f.ethernet)}
	if r.addresses != nil {
		now, _ := r.addresses.Current()
		for _, addr := range slices.SortedFunc(maps.Keys(now), netip.Addr.Compare) {
			plan.Addresses = append(plan.Addresses, addr.String())
		}
	}
	return plan
}
