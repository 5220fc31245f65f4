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
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/store"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// planPlaces looks for the archives of a capture that is not in the cluster.
func (d *download) planPlaces(ctx context.Context) error {
	if !d.places.Any() && !destination.InEnvironment(os.Getenv) {
		err := d.notFound(ctx, d.name)
		if !strings.HasPrefix(hint.Of(err), "did you mean") {
			err = hint.Wrap(err, "if it is not in the cluster any more, say where to look: --blob-url, --s3-bucket, --pvc, or --host-path with --node")
		}
		return err
	}
	stores, resolved, err := resolveRemotes(ctx, &d.existing, &d.places, "rl", d.narrator.Warn)
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
		d.narrator.Warn(err.Error())
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
		d.narrator.Warn(fmt.Sprintf("there are captures of that name from %s: taking the youngest, %s (see --time)", strings.Join(times[:len(times)-1], ", "), chosen))
	}
	d.archives = slices.DeleteFunc(d.archives, func(w *wanted) bool { return stamp(w) != chosen })
	return nil
}
