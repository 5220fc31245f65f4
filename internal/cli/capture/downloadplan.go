package capture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
		d.narrator.status("waiting for nodes that store their archives: " + strings.Join(busy, ", "))
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
	stores, _, err := resolveRemotes(ctx, &d.existing, &d.places, need, d.narrator.warn)
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

// planPlaces looks for the archives of a capture that is not in the cluster.
func (d *download) planPlaces(ctx context.Context) error {
	if !d.places.Any() && !destination.InEnvironment(os.Getenv) {
		err := d.notFound(ctx, d.name)
		if !strings.HasPrefix(hint.Of(err), "did you mean") {
			err = hint.Wrap(err, "if it is not in the cluster any more, say where to look: --blob-url, --s3-bucket, --pvc, or --host-path with --node")
		}
		return err
	}
	stores, resolved, err := resolveRemotes(ctx, &d.existing, &d.places, "rl", d.narrator.warn)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	var where []string
	var errs []error
	for _, s := range stores {
		where = append(where, s.Where())
		errs = append(errs, d.planStore(ctx, s))
	}
	for _, place := range resolved.Destinations {
		if place.Dir != nil {
			where = append(where, place.Dir.Name)
			errs = append(errs, d.planDir(ctx, *place.Dir, resolved))
		}
	}
	if err := errors.Join(errs...); err != nil && (len(d.archives) == 0 || ctx.Err() != nil) {
		return err
	} else if err != nil {
		d.narrator.warn(err.Error())
	}
	if len(d.archives) == 0 {
		return hint.Wrap(fmt.Errorf("no archive of capture %q at %s", d.name, strings.Join(where, " and ")), "archives are called NAME-NODE-TIME"+archive.Extension)
	}
	d.leaveDoubtful()
	return d.chooseTime()
}

func (d *download) planStore(ctx context.Context, s store.Store) error {
	objects, err := s.List(ctx, d.name+"-")
	if err != nil {
		return err
	}
	for _, o := range objects {
		file := path.Base(o.Name)
		ours := d.believe(ctx, file, func() (string, error) { return recordedName(ctx, s, o.Name) })
		d.found(ours, file, o.Bytes, storeOrigin{store: s, name: o.Name, sha256: o.SHA256})
	}
	return nil
}

// A belief is how certain it is that an archive is of this capture, and not of
// one whose name begins like its.
type belief int

const (
	foreign belief = iota
	maybe          // its Record will tell when it is here
	certain
)

// believe judges an archive by its file's name, which ends with a node's; where no
// such node is known, recorded, which may be nil, looks into the archive.
func (d *download) believe(ctx context.Context, file string, recorded func() (string, error)) belief {
	if !store.IsArchive(file) || !archive.Belongs(file, d.name) {
		return foreign
	}
	nodes := d.nodes
	if len(nodes) == 0 {
		nodes = d.clusterNodes(ctx)
	}
	if slices.ContainsFunc(nodes, func(node string) bool { return archive.IsOf(file, d.name, node) }) {
		return certain
	}
	if len(d.nodes) > 0 {
		return foreign
	}
	if recorded == nil {
		return maybe
	}
	switch name, err := recorded(); {
	case err != nil:
		return maybe
	case name == d.name:
		return certain
	}
	return foreign
}

// clusterNodes are the names of the cluster's nodes, as far as the user may see
// them.
func (d *download) clusterNodes(ctx context.Context) []string {
	if d.known == nil {
		d.known = []string{}
		if nodes, err := d.cluster.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); err == nil {
			for i := range nodes.Items {
				d.known = append(d.known, nodes.Items[i].Name)
			}
		}
	}
	return d.known
}

// recordedName is the name of the capture that an archive is of, which stands at
// its beginning.
func recordedName(ctx context.Context, s store.Store, name string) (string, error) {
	body, err := s.Open(ctx, name, 0)
	if err != nil {
		return "", err
	}
	defer body.Close()
	a, err := archive.NewReader(bufio.NewReader(body))
	if err != nil {
		return "", err
	}
	return a.Record().Name, nil
}

// planDir looks in a directory: of a volume, or of the nodes' disks.
func (d *download) planDir(ctx context.Context, dir wire.DirDestination, resolved *destination.Resolved) error {
	storage, nodes := session.Storage{PVC: resolved.PVC}, d.nodes
	if dir.Mount == wire.HostMount {
		storage = session.Storage{HostDir: resolved.HostDir}
		if len(nodes) == 0 {
			return hint.Wrap(exit.Usagef("--host-path needs --node: a capture that is not in the cluster any more does not say where it was"), "add --node n1,n2")
		}
	} else if len(nodes) == 0 {
		node, err := readyNode(ctx, d.cluster.Client)
		if err != nil {
			return err
		}
		nodes = []string{node}
	} else {
		nodes = nodes[:1] // a volume is the same everywhere
	}
	var errs []error
	for _, node := range nodes {
		h := d.helpers.on(node, storage)
		files, err := h.list(ctx, dir, d.name+"-")
		errs = append(errs, err)
		for _, f := range files {
			file := path.Base(f.Name)
			ours := foreign
			switch {
			case dir.Mount == wire.PVCMount: // which has those of all nodes
				ours = d.believe(ctx, file, nil)
			case archive.IsOf(file, d.name, node):
				ours = certain
			}
			d.found(ours, file, f.Bytes, dirOrigin{helper: h, dir: dir, name: f.Name})
		}
	}
	return errors.Join(errs...)
}

// found notes an archive that is somewhere, if it may be of this capture.
func (d *download) found(ours belief, file string, bytes int64, o origin) {
	if ours == foreign {
		return
	}
	for _, w := range d.archives {
		if w.file == file {
			w.origins, w.ours = append(w.origins, o), max(w.ours, ours)
			return
		}
	}
	captureNode, _, _ := archive.ParseName(file)
	d.archives = append(d.archives, &wanted{
		node: strings.TrimPrefix(captureNode, d.name+"-"), file: file, bytes: bytes, ours: ours, origins: []origin{o},
	})
}

// leaveDoubtful leaves archives out that may be of another capture, if some are
// certainly of this one.
func (d *download) leaveDoubtful() {
	if slices.ContainsFunc(d.archives, func(w *wanted) bool { return w.ours == certain }) {
		d.archives = slices.DeleteFunc(d.archives, func(w *wanted) bool { return w.ours != certain })
	}
}

// chooseTime leaves the archives of one capture: of those with the same name, the
// youngest, or that of --time.
func (d *download) chooseTime() error {
	stamp := func(w *wanted) string {
		name := strings.TrimSuffix(w.file, archive.Extension)
		return name[strings.LastIndexByte(name, '-')+1:]
	}
	var times []string
	for _, w := range d.archives {
		times = append(times, stamp(w))
	}
	slices.Sort(times)
	times = slices.Compact(times)
	chosen := times[len(times)-1]
	if d.time != "" {
		if chosen = d.time; !slices.Contains(times, chosen) {
			return hint.Wrap(fmt.Errorf("no archive of capture %q is of %s", d.name, chosen), "there are: "+strings.Join(times, ", "))
		}
	} else if len(times) > 1 {
		d.narrator.warn(fmt.Sprintf("there are captures of that name from %s: taking the youngest, %s (see --time)", strings.Join(times[:len(times)-1], ", "), chosen))
	}
	d.archives = slices.DeleteFunc(d.archives, func(w *wanted) bool { return stamp(w) != chosen })
	return nil
}
