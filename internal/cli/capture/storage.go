package capture

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/archive"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/destination"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/narration"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/prompt"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
	"github.com/kubectl-retina/kubectl-retina/internal/oneline"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/store"
	"github.com/kubectl-retina/kubectl-retina/internal/version"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// stagingExtra is what a stored capture needs on a node beside its packet files.
const stagingExtra = 128 << 20

// prepareStorage names the capture and finds out where it goes. Nothing is asked
// of the cluster but secrets and claims that flags name.
func (r *captureRun) prepareStorage(ctx context.Context) (err error) {
	if r.uniqueName = r.name; r.name == "" {
		if r.uniqueName, err = session.UniqueName(r.firstTarget(), rand.Reader); err != nil {
			return err
		}
	}
	if !r.config.stored {
		return nil
	}
	now := r.now()
	options := destination.Options{
		Client: r.cluster.Client, Namespace: r.collectors.Namespace, Stdin: r.streams.In, Getenv: os.Getenv,
		Now: now, Need: "w", UseEnvironment: r.write == "" && !r.destinations.Any(),
	}
	if r.config.duration > 0 {
		options.Until = now.Add(r.config.duration)
	}
	if r.stores, err = r.destinations.Resolve(ctx, options); err != nil {
		return exit.With(exit.Usage, err)
	}
	for _, warning := range r.stores.Warnings {
		r.warn(warning)
	}
	r.storage = &session.Storage{PVC: r.stores.PVC, HostDir: r.stores.HostDir}
	if bytes := r.packetBytes(); bytes > 0 {
		r.storage.StagingBytes = bytes + stagingExtra
	}
	return nil
}

// packetBytes is what the packet files of a node may take; 0: no limit.
func (r *captureRun) packetBytes() int64 {
	return r.config.maxBytes * int64(max(1, r.fileCount))
}

// lifetime is how long everything of the capture may live, from now on.
func (r *captureRun) lifetime() time.Duration {
	capturing := r.config.duration
	if capturing == 0 {
		capturing = maxCapture
	}
	switch {
	case r.noWait:
		return capturing + startSlack + r.storing() + r.keep
	case r.config.stored:
		return capturing + startSlack + attendedTime
	}
	return capturing + startSlack
}

// storing is what a node's archive may take that nobody waits for.
func (r *captureRun) storing() time.Duration {
	bytes := r.packetBytes()
	if bytes == 0 {
		return unlimitedTime
	}
	return max(storeTime, time.Duration(bytes/storeRate)*time.Second)
}

// annotations describe the capture to whoever lists captures.
func (r *captureRun) annotations() map[string]string {
	mode := inventory.ModeStream
	switch {
	case r.noWait:
		mode = inventory.ModeDetached
	case r.config.stored:
		mode = inventory.ModeStore
	}
	all := map[string]string{inventory.AnnotationMode: mode, inventory.AnnotationTargets: r.config.selection.String()}
	if r.config.duration > 0 {
		all[inventory.AnnotationDuration] = narration.Duration(r.config.duration)
	}
	if where := r.where(); len(where) > 0 {
		all[inventory.AnnotationDestinations] = strings.Join(where, ", ")
	}
	return all
}

// where names the destinations, without their secrets.
func (r *captureRun) where() []string {
	if r.stores == nil {
		return nil
	}
	var all []string
	for _, d := range r.stores.Destinations {
		if s, err := store.Open(d, store.Options{}); err == nil {
			all = append(all, s.Where())
		}
	}
	return all
}

// confirmNodes asks before a capture on more nodes than --max-nodes.
func (r *captureRun) confirmNodes(nodes int) error {
	if r.maxNodes == 0 || nodes <= r.maxNodes {
		return nil
	}
	question := fmt.Sprintf("%s is on %d nodes: capture on all of them?", r.config.selection.String(), nodes)
	advice := fmt.Sprintf("to go on without being asked: --max-nodes %d", nodes)
	return prompt.Confirm(r.streams, question, hint.Wrap(exit.Usagef("%d nodes are more than --max-nodes %d", nodes, r.maxNodes), advice))
}

// spec says what the collector of n does.
func (r *captureRun) spec(n *nodeRun) wire.Spec {
	n.plan.packets.Filter = r.filterSpec(n)
	spec := wire.Spec{Packets: &n.plan.packets}
	if !r.config.stored {
		return spec
	}
	spec.Store = &wire.StoreSpec{
		Archive: archive.Name(r.uniqueName, n.plan.node.Name, r.began), Format: string(r.config.format),
		MaxSeconds: int64((r.config.duration + time.Second - 1) / time.Second), MaxFileBytes: r.config.maxBytes,
		FileCount: r.fileCount, MaxPackets: r.config.packets, StagingBytes: r.storage.StagingBytes,
		Metadata: r.includeMetadata, Destinations: r.stores.Destinations, KeepSeconds: int64(attendedTime / time.Second),
		Fetched: r.output != nil,
	}
	if r.noWait {
		spec.Store.KeepSeconds = int64(r.keep / time.Second)
	}
	if spec.Store.StagingBytes == 0 {
		spec.Store.StagingBytes = wire.MaxStagingBytes // the node's disk is the limit
	}
	if spec.Store.MaxSeconds == 0 {
		spec.Store.MaxSeconds = int64(maxCapture / time.Second)
	}
	return spec
}

// record is the command's part of a node's capture.json.
func (r *captureRun) record(n *nodeRun, correction time.Duration) archive.CommandPart {
	part := archive.CommandPart{
		Name: r.uniqueName, Node: n.plan.node.Name, Cluster: apiHost(r.cluster.REST.Host), CommandVersion: version.Get().Version,
		Selection: []string{r.resolved.Searched}, Filter: r.config.filterText(), SnapLen: r.config.snapLen, HeadersOnly: r.redact, Format: string(r.config.format),
		ClockCorrectionNS: correction.Nanoseconds(),
		Limits: archive.Limits{
			Seconds: int64(r.config.duration / time.Second), Packets: r.config.packets, FileBytes: r.config.maxBytes, FileCount: r.fileCount,
		},
	}
	for id, pod := range n.plan.pods {
		var ips []string
		for _, ip := range pod.IPs {
			ips = append(ips, ip.String())
		}
		part.Targets = append(part.Targets, archive.Target{
			ID: uint32(id), Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
			IPs: ips, Owner: pod.Owner, Containers: pod.Containers,
		})
	}
	if len(n.plan.packets.Targets) > len(n.plan.pods) {
		part.Targets = append(part.Targets, archive.Target{ID: nodeTarget, Kind: "Node", Name: n.plan.node.Name})
	}
	return part
}

// apiHost is the host of an API server's address.
func apiHost(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Host
	}
	return ""
}

func sortedKeys(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

// clean makes text of a collector's fit for a line on a terminal.
func clean(text string) string { return oneline.Text(text) }

// cleanStatus makes the texts of a status fit for a terminal.
func cleanStatus(s wire.Status) wire.Status {
	s.Error, s.Hint, s.Reason, s.Archive = clean(s.Error), clean(s.Hint), clean(s.Reason), clean(s.Archive)
	for i := range s.Warnings {
		s.Warnings[i] = clean(s.Warnings[i])
	}
	for i := range s.Stores {
		t := &s.Stores[i]
		t.Where, t.Name, t.Error, t.Hint = clean(t.Where), clean(t.Name), clean(t.Error), clean(t.Hint)
	}
	return s
}
