package capture

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/destination"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/prompt"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
	"github.com/kubectl-retina/kubectl-retina/internal/store"
)

const deleteLong = `Delete captures from the cluster: their collectors and all else there is of them.

What was stored stays where it is, unless --delete-files or --delete-remote says
otherwise. What was not stored is lost: end a capture with stop first if you want
what it has.`

const deleteExample = `  kubectl retina capture delete night

  # with the archives on the nodes' disks
  kubectl retina capture delete night --delete-files

  # all of a namespace, without being asked
  kubectl retina capture delete --all -n default --yes`

type deleteOptions struct {
	existing
	places destination.Flags
	helpers
	all          bool
	yes          bool
	deleteFiles  bool
	deleteRemote bool
	quiet        bool
}

// NewDelete returns the command.
func NewDelete(flags *kube.Flags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &deleteOptions{existing: newExisting(flags, streams)}
	cmd := &cobra.Command{
		Use:     "delete NAME ...",
		Aliases: []string{"rm"},
		Short:   "Delete captures, and what they have not stored",
		Long:    deleteLong,
		Example: deleteExample,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.all && len(args) > 0 {
				return exit.Usagef("--all and the name of a capture exclude each other")
			}
			if o.all {
				return nil
			}
			return someNames(0)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := captureNames(args)
			if err == nil {
				err = o.check()
			}
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), names)
		},
		ValidArgsFunction: o.completeNames(0),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&o.all, "all", false, "all captures of the namespace")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask before deleting several")
	f.BoolVar(&o.deleteFiles, "delete-files", false, "delete their archives on nodes' disks and in volumes too")
	f.BoolVar(&o.deleteRemote, "delete-remote", false, "delete their archives in the blob container or bucket too, which the flags below name")
	o.places.AddTo(f, false)
	for _, name := range []string{"pvc", "host-path", "host-path-base-dir"} {
		_ = f.MarkHidden(name) // the captures know these places themselves
	}
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print only warnings and errors")
	o.helpers.addFlags(f)
	completeFlags(cmd, "blob-url-file")
	return cmd
}

func (o *deleteOptions) check() error {
	if o.places.Any() && !o.deleteRemote {
		return hint.Wrap(exit.Usagef("flags that name a blob container or bucket need --delete-remote"), "without it, only the capture is deleted from the cluster")
	}
	if err := o.helpers.check(); err != nil {
		return err
	}
	return exit.With(exit.Usage, o.places.Check())
}

func (o *deleteOptions) run(ctx context.Context, names []string) error {
	if err := o.connect(); err != nil {
		return err
	}
	captures, err := o.captures(ctx, names)
	if err != nil {
		return err
	}
	if len(captures) == 0 {
		fmt.Fprintf(o.streams.ErrOut, "No captures found in namespace %s.\n", o.namespace())
		return nil
	}
	if err := o.confirm(captures); err != nil {
		return err
	}
	d := &deletion{deleteOptions: o, narrator: newNarrator(o.streams.ErrOut, o.quiet)}
	defer d.narrator.Close()
	o.helpers.open(&o.existing, d.narrator.Status)
	if o.deleteRemote {
		if d.remotes, _, err = resolveRemotes(ctx, &o.existing, &o.places, "d", d.narrator.Warn); err != nil {
			return exit.With(exit.Usage, err)
		}
	}
	err = d.run(ctx, captures)
	if closeErr := o.helpers.close(ctx); closeErr != nil {
		d.narrator.Warn("clean up: " + closeErr.Error())
	}
	return err
}

// captures are those that are to be deleted.
func (o *deleteOptions) captures(ctx context.Context, names []string) ([]*inventory.Capture, error) {
	if !o.all {
		return o.find(ctx, names)
	}
	live, done := o.live(ctx)
	defer done()
	list, err := inventory.List(ctx, o.cluster.Client, inventory.Options{Namespace: o.namespace(), Prober: live})
	if err != nil {
		return nil, kube.Explain(err)
	}
	captures := make([]*inventory.Capture, len(list.Items))
	for i := range list.Items {
		captures[i] = &list.Items[i]
	}
	return captures, nil
}

// confirm asks before several captures are deleted.
func (o *deleteOptions) confirm(captures []*inventory.Capture) error {
	if len(captures) < 2 || o.yes {
		return nil
	}
	var names, active []string
	for _, c := range captures {
		names = append(names, c.Name)
		if c.Status.Active() {
			active = append(active, c.Name)
		}
	}
	question := fmt.Sprintf("delete %d captures: %s", len(names), strings.Join(names, ", "))
	if len(active) > 0 {
		question += fmt.Sprintf(" (%s still in use: what is not stored is lost)", strings.Join(active, ", "))
	}
	return prompt.Confirm(o.streams, question+"?", hint.Wrap(exit.Usagef("%d captures would be deleted, and nobody can be asked", len(names)), "add --yes"))
}

// A deletion is one execution of capture delete.
type deletion struct {
	*deleteOptions
	narrator *narrator
	remotes  []store.Store
}

// run deletes each capture. One that fails stays as it is, so that where its
// archives are is still known.
func (d *deletion) run(ctx context.Context, captures []*inventory.Capture) error {
	failed := 0
	for _, c := range captures {
		if err := d.delete(ctx, c); err != nil {
			failed++
			d.narrator.Failed(c.Name, fmt.Errorf("capture %s: %w", c.Name, err))
			continue
		}
		d.narrator.Close() // the live line, which may be on the same terminal
		if _, err := fmt.Fprintln(d.streams.Out, deletedLine(c)); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return exit.With(exit.Interrupted, exit.ErrSilent)
	case failed == len(captures):
		return exit.With(exit.Failed, exit.ErrSilent)
	case failed > 0:
		return exit.With(exit.Partial, exit.ErrSilent)
	}
	return nil
}

// delete deletes archives first: without the capture nobody knows where they are.
func (d *deletion) delete(ctx context.Context, c *inventory.Capture) error {
	if err := d.checkCredentials(c); err != nil {
		return err
	}
	if err := d.deleteArchives(ctx, c); err != nil {
		return err
	}
	d.narrator.Status("deleting " + c.Name)
	var errs []error
	for _, o := range c.Objects() {
		errs = append(errs, o.Delete(ctx, d.cluster.Client))
	}
	return errors.Join(errs...)
}

func (d *deletion) deleteArchives(ctx context.Context, c *inventory.Capture) error {
	slots := make(chan struct{}, maxDownloads)
	errs := make([]error, len(c.Nodes))
	var all sync.WaitGroup
	for i := range c.Nodes {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			for k := range c.Nodes[i].Stores {
				errs[i] = errors.Join(errs[i], d.deleteArchive(ctx, c, &c.Nodes[i], &c.Nodes[i].Stores[k]))
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// deleteArchive deletes a node's archive at one place, if that was asked for.
func (d *deletion) deleteArchive(ctx context.Context, c *inventory.Capture, n *inventory.Node, s *inventory.Store) error {
	remote := isRemote(s.Where)
	if !s.Done || remote && !d.deleteRemote || !remote && !d.deleteFiles {
		return nil
	}
	file := n.Archive + archive.Extension
	if !archive.IsOf(file, c.Name, n.Name) {
		return fmt.Errorf("node %s: %q cannot be the archive of this capture", n.Name, n.Archive)
	}
	d.narrator.Status("deleting " + file)
	if remote {
		at := d.remote(s.Where)
		if err := at.Delete(ctx, at.Name(file)); err != nil {
			return err
		}
		d.narrator.Info(fmt.Sprintf("%s deleted from %s", file, s.Where))
		return nil
	}
	dir, storage, ok := directoryOf(n, s)
	if !ok {
		return fmt.Errorf("node %s: the collector has nothing mounted that could be %s", n.Name, s.Where)
	}
	if err := d.helpers.on(n.Name, storage).remove(ctx, dir, path.Join(dir.Path, file)); err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	d.narrator.Info(fmt.Sprintf("%s deleted from %s of node %s", file, s.Where, n.Name))
	return nil
}

// remote is the store that is called where, or nil.
func (d *deletion) remote(where string) store.Store {
	for _, remote := range d.remotes {
		if remote.Where() == where {
			return remote
		}
	}
	return nil
}

// checkCredentials reports places that would be deleted from and cannot, before
// anything is deleted.
func (d *deletion) checkCredentials(c *inventory.Capture) error {
	var missing []string
	for i := range c.Nodes {
		for _, s := range c.Nodes[i].Stores {
			if d.deleteRemote && s.Done && isRemote(s.Where) && d.remote(s.Where) == nil && !slices.Contains(missing, s.Where) {
				missing = append(missing, s.Where)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return hint.Wrap(fmt.Errorf("its archives are at %s, for which no credentials are given", strings.Join(missing, " and ")),
		"pass --blob-url with a SAS that may delete, or --s3-bucket and its credentials")
}

// isRemote reports whether a place is a blob container or a bucket.
func isRemote(where string) bool {
	kind := placeKind(where)
	return kind == placeBlob || kind == placeS3
}

// deletedLine says what was deleted, and what is lost with it.
func deletedLine(c *inventory.Capture) string {
	line := "capture/" + c.Name + " deleted"
	if !c.Status.Active() {
		return line
	}
	doing := map[inventory.State]string{
		inventory.Starting: "it had not begun", inventory.Capturing: "it was capturing", inventory.Running: "it was running",
		inventory.Uploading: "its archives were being stored", inventory.Kept: "it was kept to be downloaded",
	}[c.Status]
	line += ": " + doing
	if c.Mode == inventory.ModeStream || c.Status == inventory.Starting {
		return line
	}
	var packets uint64
	for i := range c.Nodes {
		if n := &c.Nodes[i]; n.Status.Active() && n.Counts != nil && !stored(n) {
			packets += n.Counts.Packets
		}
	}
	if packets == 0 {
		return line + ", and what is not stored is lost"
	}
	return fmt.Sprintf("%s, and %s packets that are stored nowhere are lost", line, comma(packets))
}

// stored reports whether some place has the archive of a node.
func stored(n *inventory.Node) bool {
	for _, s := range n.Stores {
		if s.Done {
			return true
		}
	}
	return false
}
