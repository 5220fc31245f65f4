package capture

import (
	"context"
	"errors"

	"github.com/kubectl-retina/kubectl-retina/internal/clusterinfo"
	"github.com/kubectl-retina/kubectl-retina/internal/session"
	"github.com/kubectl-retina/kubectl-retina/internal/wire"
)

// sendDocuments sends the state of the cluster into a node's archive.
func sendDocuments(ctx context.Context, to *session.Session, when string, documents []clusterinfo.Document) error {
	const part = 1 << 20
	for _, d := range documents {
		for rest := d.YAML; len(rest) > 0; {
			some := rest[:min(len(rest), part)]
			rest = rest[len(some):]
			payload := wire.AppendExtra(nil, "cluster/"+when+"/"+d.Name, some)
			if err := to.Tell(ctx, wire.KindExtra, payload); err != nil {
				return err
			}
		}
	}
	return nil
}

// clusterState is what archives tell of the cluster, as far as the user may see it.
func (r *captureRun) clusterState(ctx context.Context) []clusterinfo.Document {
	if !r.includeMetadata {
		return nil
	}
	namespaces, nodes := map[string]bool{}, []string{}
	for _, node := range r.resolved.Nodes {
		nodes = append(nodes, node.Name)
		for _, pod := range node.Pods {
			namespaces[pod.Namespace] = true
		}
	}
	scope := clusterinfo.Scope{Nodes: nodes, Namespaces: sortedKeys(namespaces)}
	documents, errs := clusterinfo.Collect(ctx, r.cluster.Client, scope, clusterinfo.Options{HeadersOnly: r.redact})
	if err := errors.Join(errs...); err != nil && ctx.Err() == nil {
		r.warn("archives lack some of the cluster's state: " + err.Error())
	}
	return documents
}
