package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
)

// A query is one thing that was asked for.
type query interface {
	// part says what to watch to keep up with it.
	part() Part
	// String names it: "deployment shop/web", "-l app=web in namespace shop".
	fmt.Stringer
	// find asks the cluster for it.
	find(context.Context, kubernetes.Interface) (found, error)
	// nothing is the error for an answer without anything that can be captured.
	nothing(found) error
}

// found is the answer to a query.
type found struct {
	pods    []candidate    // can be captured or not
	nodes   []*corev1.Node // can be captured whole
	skipped []Skipped      // nodes that cannot
	// why completes "deployment shop/web ..." where there is nothing at all;
	// advice is the hint for that.
	why, advice string
}

// Resolve asks the cluster for what s selects.
//
// Pods are captured when their phase is Running, whether they are ready or not.
// Those that are pending, have finished or are being deleted are skipped, except
// that a pod named itself is captured for as long as it runs: a pod that goes
// away by itself during a rollout would only turn a good capture into a partial
// one. Whatever a name or selector matches beyond that is in
// [Resolved.Skipped].
//
// It is an error if something named does not exist, or if nothing is left to
// capture; the error says what was searched and found, and has a hint where one
// helps. Errors of the API server are wrapped.
func (s Selection) Resolve(ctx context.Context, client kubernetes.Interface) (*Resolved, error) {
	answers, err := s.find(ctx, client)
	if err != nil {
		return nil, err
	}
	r := s.assemble(answers)
	if len(r.Nodes) == 0 {
		return nil, s.nothing(answers)
	}
	return r, nil
}

// ResolveAny is [Selection.Resolve] for callers that follow the selection: where
// nothing can be captured now, something may be soon, so that is no error and
// [Resolved.Nodes] is empty. It still is an error if something named does not
// exist.
func (s Selection) ResolveAny(ctx context.Context, client kubernetes.Interface) (*Resolved, error) {
	answers, err := s.find(ctx, client)
	if err != nil {
		return nil, err
	}
	return s.assemble(answers), nil
}

func (s Selection) find(ctx context.Context, client kubernetes.Interface) ([]found, error) {
	answers := make([]found, len(s.queries))
	err := first(parallel(len(s.queries), func(i int) (err error) {
		answers[i], err = s.queries[i].find(ctx, client)
		return err
	}))
	return answers, err
}

// nothing joins what each query has to say about having found nothing. The
// first hint is the one that is shown.
func (s Selection) nothing(answers []found) error {
	if len(answers) == 0 {
		return errors.New("nothing is selected")
	}
	err := s.queries[0].nothing(answers[0])
	for i := 1; i < len(answers); i++ {
		err = fmt.Errorf("%w; %w", err, s.queries[i].nothing(answers[i]))
	}
	return err
}

// assemble sorts the answers by node.
func (s Selection) assemble(answers []found) *Resolved {
	nodes := make(map[string]*Node)
	at := func(name string) *Node {
		if nodes[name] == nil {
			nodes[name] = &Node{Name: name}
		}
		return nodes[name]
	}
	named := make(map[string]bool)
	r := &Resolved{Searched: s.String()}
	for i, f := range answers {
		for _, n := range f.nodes {
			node := at(n.Name)
			node.Object, node.Whole = n, true
		}
		for j := range f.pods {
			if c := &f.pods[j]; c.reason != "" {
				r.Skipped = append(r.Skipped, Skipped{"pod " + c.pod.String(), c.reason})
			} else {
				node := at(c.pod.Node)
				node.Pods = append(node.Pods, c.pod)
				if c.named {
					named["pod "+c.pod.String()] = true
				}
			}
		}
		r.Skipped = append(r.Skipped, f.skipped...)
		if len(f.pods) == 0 && f.why != "" {
			r.Skipped = append(r.Skipped, Skipped{s.queries[i].String(), f.why})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		nodes[name].Pods = sortedPods(nodes[name].Pods)
		r.Nodes = append(r.Nodes, *nodes[name])
	}
	r.Skipped = sortedSkipped(r.Skipped, named)
	return r
}

// sortedSkipped sorts what is skipped and keeps one of each, without the pods
// that are captured because they were named as well.
func sortedSkipped(skipped []Skipped, captured map[string]bool) []Skipped {
	slices.SortFunc(skipped, func(a, b Skipped) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Reason, b.Reason))
	})
	return slices.DeleteFunc(slices.Compact(skipped), func(s Skipped) bool { return captured[s.Target] })
}

// sortedPods sorts pods by name and keeps one of each.
func sortedPods(pods []Pod) []Pod {
	slices.SortFunc(pods, func(a, b Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return slices.CompactFunc(pods, func(a, b Pod) bool { return a.UID == b.UID && a.String() == b.String() })
}

// none says why none of f's pods can be captured:
// "none Running: 2 Pending, 1 Succeeded".
func none(f found) string {
	counts := make(map[string]int)
	for i := range f.pods {
		counts[f.pods[i].reason]++
	}
	words := make([]string, 0, len(counts))
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%d %s", counts[reason], reason))
	}
	kind := "Running"
	if counts[reasonWindows] > 0 {
		kind = "Running on Linux"
	}
	return "none " + kind + ": " + strings.Join(words, ", ")
}

// describe returns the hint for pods that cannot be captured yet, or "".
func describe(f found) string {
	for i := range f.pods {
		if p := &f.pods[i]; p.reason == string(corev1.PodPending) {
			return fmt.Sprintf("see why with: kubectl describe pod %s -n %s", p.pod.Name, p.pod.Namespace)
		}
	}
	return ""
}
