package capture

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// SummaryArchive is one node's archive in one place.
type SummaryArchive struct {
	Node  string `json:"node"`
	Where string `json:"where"` // a destination without its secrets, or "file"
	Name  string `json:"name"`  // of the blob, the key, the path
	Bytes int64  `json:"bytes"`
	// SHA256 of the archive, hexadecimal; empty when it is not stored there.
	SHA256 string `json:"sha256,omitempty"`
	Error  string `json:"error,omitempty"`
}

// text is how far the capture is, in one line.
func (s *storing) text() string {
	var packets, lost uint64
	var staged int64
	phases := map[wire.Phase]int{}
	for _, n := range s.nodes {
		status := s.state(n)
		phases[status.Phase]++
		packets, lost, staged = packets+status.Packets, lost+status.Lost, staged+status.StagedBytes
	}
	doing := what(s.run.config.duration)
	switch {
	case phases[wire.PhaseCapturing] > 0 || phases[""] > 0:
	case phases[wire.PhaseFinishing] > 0:
		doing = "completing archives"
	default:
		return fmt.Sprintf("storing %s packets … %s", comma(packets), s.storedText())
	}
	return fmt.Sprintf("%s … %s packets, %s on the nodes, %s lost", doing, comma(packets), humanize.Bytes(uint64(staged)), comma(lost))
}

// storedText says of each node what of its archive has been stored so far.
func (s *storing) storedText() string {
	var words []string
	for _, n := range s.nodes {
		status, bytes := s.state(n), int64(0)
		for _, one := range status.Stores {
			bytes += one.Bytes
		}
		word := n.plan.node.Name + " " + humanize.Bytes(uint64(max(bytes, 0)))
		switch status.Phase {
		case wire.PhaseDone:
			word += " done"
		case wire.PhaseKept:
			word = n.plan.node.Name + " fetching"
		case wire.PhaseFailed:
			word = n.plan.node.Name + " failed"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// newFetch begins an archive on this machine: beside the merged file that it will
// become part of, or here for whoever could not have it stored.
func (r *captureRun) newFetch(archive string) (*fetchedArchive, error) {
	dir := "."
	if r.output != nil {
		dir = r.merging
	}
	return openFetch(dir, archive+".tar.gz")
}

// finish tells what became of each node's archive, and turns it into the error
// that the command ends with.
func (s *storing) finish(ctx context.Context, took time.Duration) error {
	r := s.run
	s.tellErrors()
	failed := 0
	for _, n := range s.nodes {
		failed += s.tellNode(n)
	}
	var mergeErr error
	if r.output != nil {
		mergeErr = s.merge(context.WithoutCancel(ctx))
	}
	summary := r.storedSummary(s, took)
	if r.createOptions.output == "" {
		r.narrator.Info(r.storedHeadline(summary))
	}
	if err := errors.Join(mergeErr, r.printSummary(summary)); err != nil {
		return exit.With(exit.Partial, err)
	}
	return s.verdict(ctx, summary, failed)
}

// tellNode tells where a node's archive is, and returns in how many places it
// is not although it should be.
func (s *storing) tellNode(n *nodeRun) (failed int) {
	r, status := s.run, s.state(n)
	for _, warning := range status.Warnings {
		r.warn("node " + n.plan.node.Name + ": " + warning)
	}
	for _, one := range status.Stores {
		if one.Done {
			r.narrator.Info(fmt.Sprintf("%s: stored %s (%s) at %s", n.plan.node.Name, one.Name, humanize.Bytes(uint64(one.Bytes)), one.Where))
			continue
		}
		failed++
		if one.Error == "" {
			one.Error = "its collector is gone"
		}
		err := fmt.Errorf("node %s: not stored at %s: %s", n.plan.node.Name, one.Where, one.Error)
		if one.Hint != "" {
			err = hint.Wrap(err, one.Hint)
		}
		r.narrator.Failed(n.plan.node.Name, err)
	}
	if fetched := s.states[n].fetched; fetched != "" && r.output == nil {
		r.narrator.Info(fmt.Sprintf("%s: saved here instead: %s", n.plan.node.Name, fetched))
	}
	return failed
}

func (s *storing) verdict(ctx context.Context, summary Summary, failed int) error {
	r := s.run
	if ctx.Err() != nil {
		return exit.With(exit.Interrupted, exit.ErrSilent)
	}
	broken := 0
	for _, n := range r.nodes {
		if n.err != nil || len(n.failed) > 0 {
			broken++
		}
	}
	switch {
	case broken == len(r.nodes) && !slices.ContainsFunc(summary.Archives, func(a SummaryArchive) bool { return a.Error == "" }):
		return exit.With(exit.Failed, exit.ErrSilent)
	case broken > 0 || failed > 0 || !summary.Complete:
		return exit.With(exit.Partial, exit.ErrSilent)
	case summary.Lost > 0:
		return exit.With(exit.Partial, hint.Wrap(fmt.Errorf("%s packets were lost", comma(summary.Lost)),
			"fewer targets or --packet-size 128 leave less to write"))
	}
	return nil
}

// storedHeadline is the summary in one line.
func (r *captureRun) storedHeadline(s Summary) string {
	pods, nodes := 0, 0
	for _, n := range r.nodes {
		if n.session != nil && n.err == nil {
			nodes++
			pods += n.capturedPods()
		}
	}
	from := plural(nodes, "node")
	if pods > 0 {
		from = plural(pods, "pod") + " on " + from
	}
	name := r.uniqueName
	if r.output != nil {
		name = r.output.Name()
	}
	text := fmt.Sprintf("%s: %s from %s, %s lost", name, plural(int(min(s.Packets, math.MaxInt32)), "packet"), from, comma(s.Lost))
	if s.Overwritten > 0 {
		text += fmt.Sprintf(", %s overwritten by younger ones", comma(s.Overwritten))
	}
	if s.Limit != "" {
		text += "; ended by a limit"
	}
	if !s.Complete {
		text += "; incomplete"
	}
	return text
}

// storedSummary is what -o prints.
func (r *captureRun) storedSummary(s *storing, took time.Duration) Summary {
	r.warningsMu.Lock()
	defer r.warningsMu.Unlock()
	summary := Summary{
		APIVersion: "retina.sh/v1alpha1", Kind: "CaptureSummary", Name: r.uniqueName, Filter: r.config.filterText(), Detached: r.noWait, Complete: true,
		DurationSeconds: math.Round(took.Seconds()*1000) / 1000,
		Files:           []string{}, Warnings: append([]string{}, r.warnings...), Nodes: []SummaryNode{},
	}
	if r.output != nil {
		summary.Files = append(summary.Files, r.output.Name())
	}
	for _, n := range r.nodes {
		one := n.summary()
		if state := s.states[n]; state != nil {
			status := s.state(n)
			one.Ready, one.Packets, one.Lost = true, status.Packets, status.Lost
			summary.Packets += status.Packets
			summary.Bytes += status.Bytes
			summary.Lost += status.Lost
			summary.Overwritten += status.Overwritten
			switch status.Reason {
			case wire.EndLimit:
				summary.Limit = "node"
			case wire.EndDiskFull, wire.EndSignal, wire.EndFailure, wire.EndDeadline:
				summary.Complete = false
			}
			fetched := state.fetched
			if r.output != nil {
				fetched = "" // it was merged
			}
			summary.Archives = append(summary.Archives, archivesOf(n, status, fetched, state.sha256)...)
			if fetched != "" {
				summary.Files = append(summary.Files, fetched)
			}
		}
		summary.Complete = summary.Complete && n.err == nil
		summary.Nodes = append(summary.Nodes, one)
	}
	return summary
}

func archivesOf(n *nodeRun, status wire.Status, fetched, sha256 string) []SummaryArchive {
	var all []SummaryArchive
	for _, one := range status.Stores {
		a := SummaryArchive{Node: n.plan.node.Name, Where: one.Where, Name: one.Name, Error: one.Error}
		if one.Done {
			a.Bytes, a.SHA256 = one.Bytes, one.SHA256
		}
		all = append(all, a)
	}
	if fetched != "" {
		a := SummaryArchive{Node: n.plan.node.Name, Where: "file", Name: fetched, SHA256: sha256}
		if info, err := os.Stat(fetched); err == nil {
			a.Bytes = info.Size()
		}
		all = append(all, a)
	}
	return all
}

// mergeDir makes a directory for the archives that will be merged: beside the
// file, where there is room for them, or among temporary files.
func mergeDir(output string) (string, error) {
	dir := ""
	if output != "-" && !strings.HasPrefix(output, "/dev/") {
		dir = filepath.Dir(output)
	}
	return os.MkdirTemp(dir, ".kubectl-retina-")
}
