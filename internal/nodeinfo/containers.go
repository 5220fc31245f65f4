//go:build linux

package nodeinfo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// writeContainers writes the processes of a pod and, of each of its containers,
// how it resolves names.
func writeContainers(_ context.Context, s *scope, r *recorder) error {
	f, err := r.create("processes.txt", "processes of the pod: PID, container, command name")
	if err != nil {
		return err
	}
	var errs []error
	seen := map[string]bool{}
	for _, p := range s.processes {
		name := containerName(p)
		if err := f.printf("%d %s %s\n", p.pid, name, strconv.Quote(p.comm)); err != nil {
			return err
		}
		if p.mounts == "" || seen[p.mounts] {
			continue
		}
		seen[p.mounts] = true
		root := filepath.Join(s.options.Proc, strconv.Itoa(p.pid), "root")
		errs = append(errs,
			copyResolverFile(r, root, "etc/resolv.conf", "containers/"+name+"/resolv.conf", ofResolvConf),
			copyResolverFile(r, root, "etc/hosts", "containers/"+name+"/hosts", ofHosts),
		)
	}
	return errors.Join(errs...)
}

// containerName is the beginning of its ID, as container tools show it.
func containerName(p process) string {
	if p.container != "" {
		return p.container[:12]
	}
	return fmt.Sprintf("mnt-%s", strings.Trim(strings.TrimPrefix(p.mounts, "mnt:"), "[]"))
}
