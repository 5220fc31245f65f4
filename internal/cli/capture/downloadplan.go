package capture

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/destination"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/store"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// plan finds out which archives there are, and where.
func (d *download) plan(ctx context.Context) error {
	list, err := inventory.List(ctx, d.cluster.Client, inventory.Options{Namespace: d.namespace(), Names: []string{d.name}})
	if err != nil {
		return kube.Explain(err)
	}
	if list.Find(d.namespace(), d.name) == nil {
		return d.planPlaces(ctx)
	}
	c, err := d.settled(ctx)
	if err != nil {
		return err
	}
	nodes, err := chooseNodes(c, d.nodes)
	if err != nil {
		return err
	}
	remotes, remoteErr := d.remotes(ctx, "r")
	if remoteErr != nil && d.places.Any() {
		return exit.With(exit.Usage, remoteErr)
	}
	d.joined = d.join(ctx, c)
	for _, n := range nodes {
		d.archives = append(d.archives, d.wantedOf(c, n, d.joined, remotes))
	}
	return nil
}

// settled returns the capture when no node works on it any more: one that still
// stores its archive is waited for.
func (d *download) settled(ctx context.Context) (*inventory.Capture, error) {
	for {
		found, err := d.find(ctx, []string{d.name})
		if err != nil {
			return nil, err
		}
		c := found[0]
		if c.Mode == inventory.ModeStream {
			return nil, hint.Wrap(fmt.Errorf("capture %s is streamed to the command that was started: there is nothing to download", d.name),
				"that command writes the file")
		}
		busy, err := d.busy(c)
		if err != nil {
			return nil, err
		}
		if len(busy) == 0 {
			return c, nil
		}
		d.narrator.Status("waiting for nodes that store their archives: " + strings.Join(busy, ", "))
		for _, n := range busy {
			if err := d.awaitNode(ctx, c, n); err != nil {
				return nil, err
			}
		}
	}
}

// busy returns the nodes that store their archives; one that still captures is an
// error.
func (d *download) busy(c *inventory.Capture) ([]string, error) {
	var busy []string
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if len(d.nodes) > 0 && !slices.Contains(d.nodes, n.Name) {
			continue
		}
		switch n.Status {
		case inventory.Starting, inventory.Capturing:
			return nil, hint.Wrap(fmt.Errorf("capture %s still goes on on node %s", c.Name, n.Name),
				fmt.Sprintf("wait for its end, or end it now: kubectl retina capture stop %s%s", c.Name, d.elsewhere()))
		case inventory.Running:
			return nil, hint.Wrap(fmt.Errorf("node %s: %s", n.Name, firstText(n.Reason, "collector does not answer")), n.Hint)
		case inventory.Uploading:
			busy = append(busy, n.Name)
		}
	}
	return busy, nil
}

// awaitNode waits until a node's archive is where it will be.
func (d *download) awaitNode(ctx context.Context, c *inventory.Capture, name string) error {
	run := d.join(ctx, c)
	defer func() { _ = run.Close(ctx) }() // it owns nothing
	for i := range c.Nodes {
		if n := &c.Nodes[i]; n.Name == name {
			k := keeper{run: run, node: n.Name, pod: n.Pod}
			return k.follow(ctx, func(context.Context, *session.Session) error { return nil }, func(s wire.Status) bool {
				return s.Phase != wire.PhaseFinishing && s.Phase != wire.PhaseStoring
			})
		}
	}
	return nil
}

// remotes are the stores that the flags name, or the environment; need is what a
// SAS has to permit.
func (d *download) remotes(ctx context.Context, need string) ([]store.Store, error) {
	stores, _, err := resolveRemotes(ctx, &d.existing, &d.places, need, d.narrator.Warn)
	return stores, err
}

// resolveRemotes returns the blob containers and buckets of places, and the
// directories. Without any, the environment may name a container.
func resolveRemotes(ctx context.Context, e *existing, places *destination.Flags, need string, warn func(string)) ([]store.Store, *destination.Resolved, error) {
	resolved, err := places.Resolve(ctx, destination.Options{
		Client: e.cluster.Client, Namespace: e.namespace(), Stdin: e.streams.In, Getenv: os.Getenv, Now: e.now(),
		Need: need, UseEnvironment: !places.Any(),
	})
	if err != nil {
		return nil, nil, err
	}
	for _, warning := range resolved.Warnings {
		warn(warning)
	}
	var stores []store.Store
	for _, place := range resolved.Destinations {
		if place.Dir != nil {
			continue
		}
		s, err := store.Open(place, store.Options{})
		if err != nil {
			return nil, nil, err
		}
		stores = append(stores, s)
	}
	return stores, resolved, nil
}

// wantedOf is the archive of a node of a capture that is in the cluster.
func (d *download) wantedOf(c *inventory.Capture, n *inventory.Node, run *session.Run, remotes []store.Store) *wanted {
	w := &wanted{node: n.Name, file: n.Archive + archive.Extension, ours: certain}
	if !archive.IsOf(w.file, c.Name, n.Name) { // which also says that it is safe as a file name
		w.file = ""
		w.err = hint.Wrap(fmt.Errorf("node %s: %s", n.Name, firstText(n.Reason, "the collector has left no word of an archive")), n.Hint)
		return w
	}
	if n.Status == inventory.Kept {
		w.keeper = &keeper{run: run, node: n.Name, pod: n.Pod}
		w.origins = append(w.origins, keeperOrigin{*w.keeper})
	}
	var elsewhere []string
	for _, s := range n.Stores {
		if !s.Done {
			continue
		}
		w.bytes = s.Bytes
		if o := d.originOf(n, w, &s, remotes); o != nil {
			w.origins = append(w.origins, o)
		} else {
			elsewhere = append(elsewhere, s.Where)
		}
	}
	for _, remote := range remotes { // where nobody has said that it is
		if len(w.origins) == 0 {
			w.origins = append(w.origins, storeOrigin{store: remote, name: remote.Name(w.file)})
		}
	}
	if len(w.origins) == 0 {
		w.err = nowhere(c, n, elsewhere)
	}
	return w
}

// nowhere is the error of an archive that cannot be had.
func nowhere(c *inventory.Capture, n *inventory.Node, elsewhere []string) error {
	switch {
	case len(elsewhere) > 0:
		advice := "pass --blob-url with a SAS that may read"
		if placeKind(elsewhere[0]) == placeS3 {
			advice = "pass --s3-bucket and its credentials"
		}
		return hint.Wrap(fmt.Errorf("node %s: the archive is at %s, for which no credentials are given", n.Name, strings.Join(elsewhere, " and ")), advice)
	case n.Status == inventory.Done:
		return fmt.Errorf("node %s: the archive of %s was downloaded before, and is not on the node any more", n.Name, c.Name)
	}
	return hint.Wrap(fmt.Errorf("node %s: %s", n.Name, firstText(n.Reason, "the collector has stored nothing")), n.Hint)
}

// originOf is the place that a collector says it has stored an archive at, or nil
// when it takes credentials that are not given. What is mounted is the pod's own
// specification, which no node can change.
func (d *download) originOf(n *inventory.Node, w *wanted, s *inventory.Store, remotes []store.Store) origin {
	for _, remote := range remotes {
		if remote.Where() == s.Where {
			return storeOrigin{store: remote, name: remote.Name(w.file), sha256: s.SHA256}
		}
	}
	if dir, storage, ok := directoryOf(n, s); ok {
		return dirOrigin{helper: d.helpers.on(n.Name, storage), dir: dir, name: path.Join(dir.Path, w.file)}
	}
	return nil
}

// directoryOf is the directory that a node has stored an archive in.
func directoryOf(n *inventory.Node, s *inventory.Store) (dir wire.DirDestination, storage session.Storage, ok bool) {
	if n.Storage == nil {
		return dir, storage, false
	}
	switch kind := placeKind(s.Where); {
	case kind == placePVC && n.Storage.PVC != "":
		storage.PVC = n.Storage.PVC
	case kind == placeHost && n.Storage.HostDir != "":
		storage.HostDir = n.Storage.HostDir
	default:
		return dir, storage, false
	}
	dir.Name, dir.Path = s.Where, path.Dir(path.Clean("/" + s.Name))[1:]
	return dir, storage, true
}
