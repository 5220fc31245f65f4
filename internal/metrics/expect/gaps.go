package expect

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/internal/metrics"
)

// tells are the labels of targets that rows have.
func tells(by metrics.By) []string {
	switch by {
	case metrics.ByNode:
		return []string{"node"}
	case metrics.ByWorkload:
		return []string{"namespace", "workload"}
	case metrics.ByNamespace:
		return []string{"namespace"}
	case metrics.ByService:
		return []string{"namespace", "service"}
	}
	return targetLabels()
}

// untold returns a label that is asked for and that rows do not tell; "" if there
// is none.
func (e *Expectation) untold(r *metrics.Report) string {
	for _, label := range targetLabels() {
		if e.asks(label) && !slices.Contains(tells(r.By), label) {
			return label
		}
	}
	return ""
}

// unselected explains why there is nothing to judge; "" if there is.
func (e *Expectation) unselected(r *metrics.Report) string {
	if e.metric.source == fromAPIServers || e.metric.source == fromLost {
		return ""
	}
	if label := e.untold(r); label != "" {
		if e.metric.source == fromRows && !e.fromFlows() {
			return fmt.Sprintf("the report is by %s and does not tell a %s", r.By, label)
		}
		return "" // drops, flows and queries know their targets
	}
	for i := range r.Rows {
		if e.selects(&r.Rows[i].Party, nodeOf(&r.Rows[i].Party)) {
			return ""
		}
	}
	if r.By == metrics.ByFlow && e.anyTarget(r) {
		return ""
	}
	if missing := e.unmeasured(r); len(missing) > 0 {
		return causes(missing, "")
	}
	if why := e.leftOut(r); why != "" {
		return why
	}
	if e.asks(targetLabels()...) {
		return "no target has such labels"
	}
	return "there is no target"
}

// leftOut says why pods that the labels name are no targets, where that was on
// purpose: nothing but their names is known.
func (e *Expectation) leftOut(r *metrics.Report) string {
	var why []string
	for _, s := range r.Skipped {
		full, isPod := strings.CutPrefix(s.Target, "pod ")
		namespace, name, _ := strings.Cut(full, "/")
		pod := &metrics.Party{Kind: metrics.KindPod, Namespace: namespace, Name: name}
		if isPod && e.asks("pod", "namespace") && e.selects(pod, "") {
			why = append(why, fmt.Sprintf("%s was not measured: %s", s.Target, s.Reason))
		}
	}
	return causes(why, "")
}

// anyTarget looks for a target beside the rows, which by flow are those of targets
// with flows.
func (e *Expectation) anyTarget(r *metrics.Report) bool {
	selected := func(p *metrics.Party) bool { return e.selects(p, nodeOf(p)) }
	return slices.ContainsFunc(r.Drops, func(d metrics.Drop) bool { return selected(&d.Target) }) ||
		slices.ContainsFunc(r.DNS, func(d metrics.DNS) bool { return selected(&d.Target) }) ||
		slices.ContainsFunc(r.Stats, func(s metrics.Stat) bool { return selected(&s.Target) })
}

// involved returns the nodes on which something may be that is selected.
func (e *Expectation) involved(r *metrics.Report) []*metrics.Node {
	hosts, known := make(map[string]bool), make(map[string]bool)
	for i := range r.Rows {
		node := nodeOf(&r.Rows[i].Party)
		known[node] = true
		if e.selects(&r.Rows[i].Party, node) {
			hosts[node] = true
		}
	}
	exact := r.By == metrics.ByPod && e.metric.source != fromAPIServers && e.metric.source != fromLost
	var nodes []*metrics.Node
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if e.has("node", n.Name) && (!exact || hosts[n.Name] || !known[n.Name]) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// A state is how well something was measured.
type state struct {
	measured bool     // on one of the nodes at least
	gaps     []string // what is missing
	notes    []string // what is to be known beside
}

// state looks at the nodes that are involved.
func (e *Expectation) state(r *metrics.Report) state {
	var s state
	for _, n := range e.involved(r) {
		s.look(e, r, n)
	}
	if gap := e.early(r); gap != "" {
		s.gaps = append(s.gaps, gap)
	}
	if e.metric.source == fromRows || e.metric.source == fromDrops || e.metric.source == fromDNS {
		s.gaps = append(s.gaps, e.unmeasured(r)...)
	}
	return s
}

// collector has losses as plugins have.
const collector = "collector"

const (
	// dnsPatience and connectPatience are how long plugins wait for an answer before
	// they count that there was none.
	dnsPatience       = 5 * time.Second
	connectPatience   = 3 * time.Second
	apiServerPatience = 3 * time.Second
	// waitSlack is for what has to begin first, and for the last sample.
	waitSlack = time.Second
)

// patience is how long something goes on before the metric counts it; 0 for what
// counts at once.
func (m *metric) patience() time.Duration {
	switch m.name {
	case "dns_timeouts":
		return dnsPatience
	case "unanswered", "connect_failures":
		return connectPatience
	case "apiserver_errors":
		return apiServerPatience
	}
	return 0
}

// early says why a report is too short for the metric: nothing could have been
// counted yet. "" for one that is long enough.
func (e *Expectation) early(r *metrics.Report) string {
	patience := e.metric.patience()
	if patience == 0 || r.Ended.Sub(r.Began) >= patience+waitSlack {
		return ""
	}
	return fmt.Sprintf("what has no answer counts after %s, and the report covers %.1fs: measure for %s or longer", patience, r.Seconds(), 2*patience)
}

// unmeasured says which targets are selected that could not be measured, and why.
func (e *Expectation) unmeasured(r *metrics.Report) []string {
	var causes []string
	for _, missing := range r.Skipped {
		if missing.Party != nil && e.selects(missing.Party, nodeOf(missing.Party)) {
			causes = append(causes, fmt.Sprintf("%s was not measured: %s", missing.Target, missing.Reason))
		}
	}
	return causes
}

func (s *state) look(e *Expectation, r *metrics.Report, n *metrics.Node) {
	missing := false
	for _, group := range e.plugins(r) {
		used := ""
		for _, plugin := range group {
			if plugin == collector && n.Samples > 0 || r.Measured(plugin, n.Name) {
				used = plugin
				break
			}
		}
		if used == "" {
			missing = true
			s.gaps = append(s.gaps, absence(r, n, group))
			continue
		}
		if e.metric.source != fromLost { // there it is the number itself
			s.losses(r, n, used)
		}
	}
	switch {
	case missing:
	case n.Samples == 0:
		s.gaps = append(s.gaps, silence(n))
	case e.metric.source == fromAPIServers && !e.attempted(r, n):
		s.gaps = append(s.gaps, fmt.Sprintf("node %s: no attempt to reach %s is over", n.Name, e.whom()))
	default:
		s.measured = true
		if n.Error != "" {
			s.gaps = append(s.gaps, silence(n))
		}
	}
}

// attempted tells whether an attempt from the node to an address that is asked for
// is over: before that there is no number of errors, not even 0.
func (e *Expectation) attempted(r *metrics.Report, n *metrics.Node) bool {
	return slices.ContainsFunc(r.APIServers, func(a metrics.APIServer) bool {
		return a.Node == n.Name && a.Attempts > 0 && e.has("remote", addressNames(a.Address)...)
	})
}

func (e *Expectation) whom() string {
	if e.asks("remote") {
		return "such an address of the API server"
	}
	return "the API server"
}

// plugins returns the groups of plugins that count what is asked for.
func (e *Expectation) plugins(r *metrics.Report) [][]string {
	if e.metric.source == fromLost && e.asks("plugin") {
		return e.losers(r)
	}
	if !e.fromFlows() {
		return e.metric.plugins
	}
	switch e.metric.name {
	case "retransmits":
		return e.metric.plugins
	case "retransmit_ratio":
		return [][]string{{metrics.PluginRetransmit}, {metrics.PluginFlows}}
	}
	return [][]string{{metrics.PluginFlows}}
}

// losers returns the plugins whose losses are asked for by name, each a group of its
// own: one that did not run has lost nothing because it has counted nothing.
func (e *Expectation) losers(r *metrics.Report) [][]string {
	names := append([]string{collector}, r.Plugins...)
	for i := range e.labels {
		if m := &e.labels[i]; m.label == "plugin" && m.pattern == nil {
			names = append(names, m.value)
		}
	}
	slices.Sort(names)
	var groups [][]string
	for _, name := range slices.Compact(names) {
		if e.has("plugin", name) {
			groups = append(groups, []string{name})
		}
	}
	if len(groups) == 0 {
		return [][]string{{"of such a name"}}
	}
	return groups
}

// losses notes what a plugin has lost, and what of it does not work.
func (s *state) losses(r *metrics.Report, n *metrics.Node, plugin string) {
	for _, l := range r.Lost {
		if l.Node == n.Name && l.Plugin == plugin && l.Count > 0 {
			s.gaps = append(s.gaps, fmt.Sprintf("%s lost %d on node %s (%s)", plugin, l.Count, n.Name, l.What))
		}
	}
	for _, u := range n.Unsupported {
		if u.Plugin == plugin && u.Partial {
			s.notes = append(s.notes, fmt.Sprintf("%s measures in part on node %s: %s", plugin, n.Name, u.Cause))
		}
	}
}

// absence says why none of the plugins of a group has measured on a node.
func absence(r *metrics.Report, n *metrics.Node, group []string) string {
	var causes []string
	for _, plugin := range group {
		if !slices.Contains(r.Plugins, plugin) {
			continue
		}
		for _, u := range n.Unsupported {
			if u.Plugin == plugin && !u.Partial {
				causes = append(causes, fmt.Sprintf("node %s does not support %s: %s", n.Name, plugin, u.Cause))
			}
		}
		if len(causes) == 0 {
			return silence(n)
		}
	}
	if len(causes) == 0 {
		return "no plugin " + strings.Join(group, " or ") + " was asked for"
	}
	return strings.Join(causes, "; ")
}

func silence(n *metrics.Node) string {
	if n.Error != "" {
		return fmt.Sprintf("node %s: %s", n.Name, n.Error)
	}
	return fmt.Sprintf("node %s has sent nothing", n.Name)
}
