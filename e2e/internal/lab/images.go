//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Load imports the images of an archive (as `docker save` writes it, or an OCI
// layout, both as tar) into every node and waits until the kubelets can use
// them. Of an image for several platforms, the node's own is taken.
func (c *Cluster) Load(ctx context.Context, archive string) error {
	if _, err := os.Stat(archive); err != nil {
		return fmt.Errorf("image archive: %w", err)
	}
	var wait sync.WaitGroup
	errs := make([]error, len(c.Nodes))
	for i, node := range c.Nodes {
		wait.Go(func() { errs[i] = c.loadInto(ctx, node, archive) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (c *Cluster) loadInto(ctx context.Context, node Machine, archive string) error {
	file, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("image archive: %w", err)
	}
	defer file.Close()
	// Through stdin: a path of the host need not exist on the node.
	cmd, err := c.NodeCommand(ctx, node.Name, "ctr", "--namespace", "k8s.io", "images", "import", "-")
	if err != nil {
		return err
	}
	cmd.Stdin = file
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("import %s into node %s: %w: %s", archive, node.Name, err, strings.TrimSpace(string(out)))
	}
	patience, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var missing []string
	err = waitUntil(patience, func() (done bool, err error) {
		missing, err = c.unmanagedImages(ctx, node)
		return len(missing) == 0, err
	})
	if err != nil {
		return fmt.Errorf("node %s: images %s do not become usable: %w", node.Name, strings.Join(missing, ", "), err)
	}
	return nil
}

// unmanagedImages returns the imported images that containerd's Kubernetes
// interface does not know yet; it learns of an import by an event.
func (c *Cluster) unmanagedImages(ctx context.Context, node Machine) ([]string, error) {
	cmd, err := c.NodeCommand(ctx, node.Name, "ctr", "--namespace", "k8s.io", "images", "list")
	if err != nil {
		return nil, err
	}
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list images of node %s: %w", node.Name, err)
	}
	return unmanaged(string(out)), nil
}

// unmanaged returns the first column of the lines of `ctr images list`, after
// its heading, that lack the label of containerd's Kubernetes interface.
func unmanaged(list string) []string {
	var refs []string
	for i, line := range strings.Split(strings.TrimSpace(list), "\n") {
		if i > 0 && !strings.Contains(line, "io.cri-containerd.image=managed") {
			refs = append(refs, strings.Fields(line)[0])
		}
	}
	return refs
}
