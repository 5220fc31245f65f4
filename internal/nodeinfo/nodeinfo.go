//go:build linux

// Package nodeinfo writes down the network state of a node and of the network
// namespaces of pods on it, as text files that look like the output of ip, ss,
// tc, conntrack and iptables-save.
//
// It needs what a collector pod has: the node's PID namespace, its network
// namespace and all capabilities. It needs no program in its own root: state is
// read from netlink and procfs. Only the rules of iptables and nft are also
// printed by the node's own programs, where it has them.
//
// Everything is done at best effort. A part that fails, hangs or is too large
// costs that part and nothing else.
//
// No secret is read: of processes only their names, of sysctls not the keys, and
// of resolv.conf and hosts files, whose contents containers choose, only lines
// that have the form of these files.
package nodeinfo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/hostns"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// Defaults of Options.
const (
	DefaultMaxBytes     = 64 << 20
	DefaultMaxFileBytes = 8 << 20
	DefaultPartTimeout  = 5 * time.Second
	DefaultTimeout      = 30 * time.Second
)

// Options say what to collect and how much. The zero value of a field is its
// default.
type Options struct {
	// Targets are the pods whose namespaces are looked at. The node's own is
	// always looked at; targets that are the node add nothing.
	Targets []wire.Target
	// MaxBytes limits all files together, MaxFileBytes each of them. What is
	// longer is cut behind a whole line and says so.
	MaxBytes, MaxFileBytes int64
	// PartTimeout limits the time for one kind of information in one namespace,
	// Timeout that of Collect.
	PartTimeout, Timeout time.Duration
	// Proc is where the node's processes are seen; default "/proc".
	Proc string
	// HostRoot is the node's root directory; default "/proc/1/root".
	HostRoot string
}

func (o Options) withDefaults() Options {
	o.MaxBytes = orDefault(o.MaxBytes, DefaultMaxBytes)
	o.MaxFileBytes = orDefault(o.MaxFileBytes, DefaultMaxFileBytes)
	o.PartTimeout = orDefault(o.PartTimeout, DefaultPartTimeout)
	o.Timeout = orDefault(o.Timeout, DefaultTimeout)
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if o.HostRoot == "" {
		o.HostRoot = filepath.Join(o.Proc, "1/root")
	}
	return o
}

func orDefault[T int64 | time.Duration](value, otherwise T) T {
	if value <= 0 {
		return otherwise
	}
	return value
}

// A Problem is something that is missing from what was collected.
type Problem struct {
	// Dir is the directory in which it is missing: "node" or "pod-NS-NAME".
	Dir string
	// Part is what is missing: "routes".
	Part string
	Err  error
}

func (p Problem) Error() string { return p.Dir + ": " + p.Part + ": " + p.Err.Error() }

// Unwrap returns the cause.
func (p Problem) Unwrap() error { return p.Err }

// inParallel is how many namespaces are read at the same time: few, because the
// node has something else to do.
const inParallel = 4

// Collect writes below dir, which it makes: node/ and for each pod of o.Targets
// pod-NAMESPACE-NAME/, and problems.txt if there are any, which it also returns.
//
// It returns in time, a second after o.Timeout at the latest, even when the
// kernel or a file system hangs. Parts that hang then still hold a thread, but
// write nothing any more.
func Collect(ctx context.Context, dir string, o Options) []Problem {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	c := &collection{options: o, dir: dir, budget: &budget{left: o.MaxBytes}}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		c.report(".", "directory", err)
		return c.problems()
	}
	c.collect(ctx)
	return c.writeProblems()
}

// collection is the state of one Collect.
type collection struct {
	options Options
	dir     string
	budget  *budget

	mu    sync.Mutex
	found []Problem
}

func (c *collection) report(dir, part string, err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found = append(c.found, Problem{Dir: dir, Part: part, Err: err})
}

func (c *collection) problems() []Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.found
}

func (c *collection) writeProblems() []Problem {
	problems := c.problems()
	if len(problems) == 0 {
		return nil
	}
	var text strings.Builder
	for _, p := range problems {
		text.WriteString(oneLine(p.Error()) + "\n")
	}
	if err := os.WriteFile(filepath.Join(c.dir, "problems.txt"), []byte(text.String()), 0o644); err != nil {
		problems = append(problems, Problem{Dir: ".", Part: "problems.txt", Err: err})
	}
	return problems
}

// collect looks at every namespace.
func (c *collection) collect(ctx context.Context) {
	host, err := hostns.Host()
	if err != nil {
		c.report("node", "network namespace", err)
		return
	}
	pods, uids := c.pods()
	// procfs does not hang, but a node may have many processes.
	found, err := within(ctx, c.options.PartTimeout, func(ctx context.Context) (located, error) {
		return locate(ctx, c.options.Proc, uids, host.Ino)
	})
	if err != nil {
		c.report("node", "processes", err)
	}
	users := &users{count: 1, namespaces: append(slices.Collect(maps.Values(found.namespaces)), host)}
	defer users.release()
	node := &scope{collection: c, dir: "node", ns: host, owners: found.owners, users: users}
	scopes := []*scope{node}
	for _, pod := range pods {
		scopes = append(scopes, c.podScope(pod, found, host, users))
	}
	jobs := make(chan *scope)
	var workers sync.WaitGroup
	for range min(inParallel, len(scopes)) {
		workers.Go(func() {
			for s := range jobs {
				s.run(ctx)
			}
		})
	}
	for _, s := range scopes {
		if s != nil {
			jobs <- s
		}
	}
	close(jobs)
	workers.Wait()
}

// pod is a target with the name of its directory.
type pod struct {
	wire.Target
	dir string
}

func (c *collection) pods() (pods []pod, uids []string) {
	taken := map[string]bool{}
	for _, target := range c.options.Targets {
		if target.PodUID == "" {
			continue
		}
		pods = append(pods, pod{Target: target, dir: directoryName(target.Name, taken)})
		uids = append(uids, target.PodUID)
	}
	return pods, uids
}

// podScope is nil for a pod that has no process here.
func (c *collection) podScope(p pod, found located, host *hostns.Netns, users *users) *scope {
	s := &scope{
		collection: c, dir: p.dir, pod: true, ns: found.namespaces[p.PodUID],
		processes: found.processes[p.PodUID], owners: found.owners, users: users,
	}
	if s.ns == nil {
		c.report(p.dir, "network namespace", hostns.ErrNoProcess)
		return nil
	}
	s.inHost = s.ns.Ino == host.Ino
	return s
}

// directoryName makes "pod-shop-web-1" of "pod shop/web-1", and another name if
// that is taken.
func directoryName(target string, taken map[string]bool) string {
	const longest = 200 // of the 255 bytes of a file name
	name := "pod-" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_':
			return r
		}
		return '-'
	}, strings.TrimPrefix(target, "pod "))
	name = name[:min(len(name), longest)]
	unique := name
	for i := 2; taken[unique]; i++ {
		unique = fmt.Sprintf("%s-%d", name, i)
	}
	taken[unique] = true
	return unique
}

var errTime = errors.New("no time left")

// within calls f and waits for it no longer than limit.
func within[T any](ctx context.Context, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f(ctx)
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	// Those who watch ctx end now and may have a part of the result.
	select {
	case r := <-done:
		return r.value, r.err
	case <-time.After(100 * time.Millisecond):
		var none T
		return none, errTime
	}
}
