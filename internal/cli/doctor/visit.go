package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	retina "github.com/kubectl-retina/kubectl-retina"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/exit"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/kube"
	"github.com/kubectl-retina/kubectl-retina/internal/cli/narration"
	"github.com/kubectl-retina/kubectl-retina/internal/doctor"
	"github.com/kubectl-retina/kubectl-retina/internal/hint"
	"github.com/kubectl-retina/kubectl-retina/internal/inventory"
	"github.com/kubectl-retina/kubectl-retina/internal/rights"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/target"
)

const (
	// maxParallel is how many nodes are looked at at the same time.
	maxParallel = 16
	// maxExamination bounds the life of one collector.
	maxExamination = 10 * time.Minute
)

// A visit is one run of the command.
type visit struct {
	*options
	cluster  *kube.Cluster
	narrator *narration.Narrator
	report   *doctor.Report
	plugins  []string // to try
	filling  chan struct{}
	// seesEvents says that the user may watch the events of collectors.
	seesEvents bool

	mu     sync.Mutex
	pulled map[string]bool // nodes that had to pull the image
}

func newVisit(o *options, cluster *kube.Cluster) *visit {
	return &visit{
		options: o, cluster: cluster, narrator: narration.New(o.streams.ErrOut, o.quiet),
		filling: make(chan struct{}, 1), pulled: map[string]bool{},
		report: &doctor.Report{
			APIVersion: doctor.APIVersion, Kind: doctor.Kind, CreatedAt: o.now().UTC(), Status: doctor.OK,
			Namespace: o.collectors.Namespace, Image: o.image, Checks: []doctor.Check{},
		},
	}
}

// run checks everything, prints the report, and says by its error how it ended.
func (v *visit) run(ctx context.Context) error {
	defer v.narrator.Close()
	catalogue, err := retina.Catalog()
	if err != nil {
		return err
	}
	for _, p := range catalogue.Plugins {
		if p.Name != "apiserver" { // it has no hook
			v.plugins = append(v.plugins, p.Name)
		}
	}
	v.narrator.Status("checking rights and namespace")
	nodes, may, err := v.examineCluster(ctx)
	if err == nil && may {
		err = v.examineNodes(ctx, nodes)
	}
	v.narrator.Close()
	if ctx.Err() != nil {
		return exit.With(exit.Interrupted, errors.New("interrupted; nothing was left"))
	}
	if err != nil {
		return kube.Explain(err)
	}
	if err := v.report.Print(v.streams.Out, v.output); err != nil {
		return err
	}
	return v.verdict()
}

// verdict is the end of the command.
func (v *visit) verdict() error {
	failed, unknown := v.report.Count(doctor.Fail), v.report.Count(doctor.Unknown)
	switch {
	case failed > 0:
		v.narrator.Info(fmt.Sprintf("%d of %d checks fail", failed, len(v.report.Checks)))
		return exit.With(exit.Failed, exit.ErrSilent)
	case unknown > 0:
		v.narrator.Info(fmt.Sprintf("%d of %d checks could not be made", unknown, len(v.report.Checks)))
		return exit.With(exit.Partial, exit.ErrSilent)
	}
	return nil
}

// examineCluster does all that takes no collector. It returns the nodes to look
// at and whether collectors are to start on them.
func (v *visit) examineCluster(ctx context.Context) (nodes []target.Node, may bool, err error) {
	var permitted, left []doctor.Check
	var found doctor.Check
	var refused, nodesErr error
	var all sync.WaitGroup
	all.Go(func() { permitted = v.checkRights(ctx) })
	all.Go(func() { refused = v.checkNamespace(ctx) })
	all.Go(func() { left = v.checkLeftovers(ctx) })
	all.Go(func() { nodes, found, nodesErr = v.findNodes(ctx) })
	all.Wait()
	if ctx.Err() != nil || nodesErr != nil {
		return nil, false, nodesErr
	}
	v.report.Add(permitted...)
	takes := doctor.Check{Name: doctor.CheckNamespace, Status: doctor.OK, Detail: v.collectors.Namespace + " takes collectors"}
	switch {
	case refused != nil && permitted[0].Status == doctor.Fail:
		takes.Status, takes.Detail = doctor.Unknown, "cannot be tried without the rights"
	case refused != nil:
		takes.Status, takes.Detail, takes.Hint = doctor.Fail, refused.Error(), hint.Of(refused)
	}
	v.report.Add(takes)
	v.report.Add(left...)
	may = refused == nil && len(nodes) > 0
	if may {
		may, err = v.confirm(len(nodes), &found)
	}
	v.report.Add(found)
	return nodes, may, err
}

// checkRights asks for every right that is of use.
func (v *visit) checkRights(ctx context.Context) []doctor.Check {
	targets := v.cluster.Namespace
	if v.allNamespaces {
		targets = ""
	}
	all := rights.All()
	var mu sync.Mutex
	var found rights.Answer
	var asked sync.WaitGroup
	for scope, namespace := range map[rights.Scope]string{
		rights.Collectors: v.collectors.Namespace, rights.Targets: targets, rights.APIService: "default", rights.Cluster: "",
	} {
		asked.Go(func() {
			answer := rights.Ask(ctx, v.cluster.Client, namespace, rights.Of(all, scope))
			mu.Lock()
			defer mu.Unlock()
			found.Add(answer)
		})
	}
	asked.Wait()
	byScope := func(a, b rights.Right) int { return int(a.Scope) - int(b.Scope) }
	slices.SortStableFunc(found.Missing, byScope)
	slices.SortStableFunc(found.Unknown, byScope)
	v.seesEvents = !slices.ContainsFunc(slices.Concat(found.Missing, found.Unknown), func(r rights.Right) bool {
		return r.Scope == rights.Collectors && r.String() == "watch events"
	})
	flag := "-n " + targets
	if targets == "" {
		flag = "-A"
	}
	advice := fmt.Sprintf("somebody who may can grant them: kubectl retina doctor --print-rbac %s --collector-namespace %s --bind-to user/NAME | kubectl apply -f -",
		flag, v.collectors.Namespace)
	return doctor.Rights(found, v.collectors.Namespace, targets, advice)
}

// checkNamespace is why the namespace takes no collector; nil: it does.
func (v *visit) checkNamespace(ctx context.Context) error {
	preview, err := session.NewPreview(ctx, v.sessionConfig())
	if err != nil {
		return err
	}
	return preview.Refused
}

func (v *visit) sessionConfig() session.Config {
	return session.Config{
		Client: v.cluster.Client, Namespace: v.collectors.Namespace, Image: v.image,
		PullSecrets: v.collectors.PullSecrets, MaxRun: maxExamination, Events: v.starting,
	}
}

func (v *visit) starting(e session.Event) {
	if e.Phase == session.PhasePulling {
		v.mu.Lock()
		v.pulled[e.Node] = true
		v.mu.Unlock()
	}
	v.narrator.Starting(e)
}

// maxNamed is how many leftovers a line names.
const maxNamed = 5

// checkLeftovers looks for what carries our labels and nobody needs: in all
// namespaces, or where the user may not look there in the collectors'.
func (v *visit) checkLeftovers(ctx context.Context) []doctor.Check {
	where, flag := "in any namespace", "-A"
	objects, _, err := inventory.Objects(ctx, v.cluster.Client, "", v.now())
	if err != nil {
		where, flag = "in namespace "+v.collectors.Namespace, "-n "+v.collectors.Namespace
		objects, _, err = inventory.Objects(ctx, v.cluster.Client, v.collectors.Namespace, v.now())
	}
	c := doctor.Check{Name: doctor.CheckLeftovers, Status: doctor.OK, Detail: "nothing of ours " + where + " that nobody needs"}
	if err != nil {
		c.Status, c.Detail, c.Hint = doctor.Warn, "cannot be looked for: "+err.Error(), hint.Of(err)
		return []doctor.Check{c}
	}
	var left []string
	for _, o := range objects {
		if o.Needed == "" {
			left = append(left, o.Namespace+"/"+o.Resource+"/"+o.Name)
		}
	}
	if n := len(left); n > 0 {
		more := ""
		if n > maxNamed {
			left, more = left[:maxNamed], fmt.Sprintf(" and %d more", n-maxNamed)
		}
		c.Status, c.Detail, c.Hint = doctor.Warn, "nobody needs "+strings.Join(left, ", ")+more, "kubectl retina cleanup "+flag
	} else if len(objects) > 0 {
		c.Detail += fmt.Sprintf("; %d objects are in use", len(objects))
	}
	return []doctor.Check{c}
}
