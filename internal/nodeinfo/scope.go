//go:build linux

package nodeinfo

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
)

// scope is one directory of the collection: the node or a pod.
type scope struct {
	*collection
	dir       string
	ns        *hostns.Netns
	pod       bool
	inHost    bool // the pod has no network namespace of its own
	processes []process
	owners    owners
	users     *users
}

// part is one kind of information.
type part struct {
	name string
	// run writes it. It may be abandoned: it must stop at the first error of a
	// file. Where inNetns is set, its thread is in the namespace.
	run     func(context.Context, *scope, *recorder) error
	inNetns bool
}

// parts are those of a scope: what changes fast first.
func (s *scope) parts() []part {
	network := []part{
		{"sockets", writeSockets, true},
		{"conntrack", writeConntrack, true},
		{"neighbours", writeNeighbours, true},
		{"links", writeLinks, true},
		{"addresses", writeAddresses, true},
		{"routes", writeRoutes, true},
		{"rules", writeRules, true},
		{"qdiscs", writeQdiscs, true},
		{"proc-net", writeProcNet, true},
		{"sysctl", writeSysctls, true},
		{"bpf", writeBPF, true},
		{"nftables", writeNFTables, true},
		{"iptables", writeIPTables, true},
		{"nft", writeNFT, true},
	}
	switch {
	case s.inHost:
		return []part{{"network", writeSharedNetwork, false}, {"containers", writeContainers, false}}
	case s.pod:
		return append(network, part{"containers", writeContainers, false})
	}
	return append(network,
		part{"resolv.conf", writeNodeFiles, false},
		part{"kernel", writeKernel, false},
		part{"bpf links", writeBPFLinks, false},
	)
}

// run does every part that there is time for.
func (s *scope) run(ctx context.Context) {
	var skipped []string
	for _, p := range s.parts() {
		if ctx.Err() != nil {
			skipped = append(skipped, p.name)
			continue
		}
		s.runPart(ctx, p)
	}
	if len(skipped) > 0 {
		s.report(s.dir, strings.Join(skipped, ", "), errTime)
	}
}

func (s *scope) runPart(ctx context.Context, p part) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.options.PartTimeout)
	defer cancel()
	r := &recorder{
		ctx: ctx, dir: filepath.Join(s.collection.dir, s.dir),
		limit: s.options.MaxFileBytes, total: s.budget,
	}
	s.users.hold()
	done := make(chan error, 1)
	go func() {
		defer s.users.release()
		if p.inNetns {
			done <- s.ns.Do(func() error { return guarded(ctx, p, s, r) })
		} else {
			done <- guarded(ctx, p, s, r)
		}
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		// One that watches ctx ends now, and knows better why.
		select {
		case err = <-done:
		case <-time.After(grace):
			err = errAbandoned
		}
	}
	switch cut := r.finish(); {
	case cut != nil:
		s.report(s.dir, p.name, cut)
	case err != nil && ctx.Err() != nil:
		s.report(s.dir, p.name, fmt.Errorf("%w after %s", errAbandoned, time.Since(began).Round(time.Millisecond)))
	default:
		s.report(s.dir, p.name, err)
	}
}

// grace is how long a part that is out of time may take to notice.
const grace = 200 * time.Millisecond

// guarded makes an error of a panic: what the kernel sends is decoded by code
// that was not made for every kernel, and no part is worth the packets.
func guarded(ctx context.Context, p part, s *scope, r *recorder) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("not decodable: %v", cause)
		}
	}()
	return p.run(ctx, s, r)
}

// users closes namespaces when nobody is in need of them any more, which is not
// the end of Collect where a part was abandoned.
type users struct {
	mu         sync.Mutex
	count      int
	namespaces []*hostns.Netns
}

func (u *users) hold() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count++
}

func (u *users) release() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.count--; u.count > 0 {
		return
	}
	for _, ns := range u.namespaces {
		_ = ns.Close()
	}
}

// writeSharedNetwork is all that there is to say of a pod with hostNetwork.
func writeSharedNetwork(_ context.Context, _ *scope, r *recorder) error {
	f, err := r.create("network.txt", "network namespace")
	if err != nil {
		return err
	}
	return f.printf("The pod is in the node's network namespace: see ../node\n")
}
