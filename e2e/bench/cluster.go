//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// A world is a cluster with a namespace that has the pods of one part of the bench.
type world struct {
	*lab.Cluster
	namespace string
	ends      []func(context.Context) error // to undo what was made, in reverse order
}

// ownLabel is the label of the pods that a part has made; all others of the
// namespace are collectors.
const ownLabel = "retina-bench"

// Of the target pod.
const (
	targetNode = "n1"
	targetPod  = "traffic"
	// sendRate is packets a second: one each 5 ms, so that a capture of it has its
	// first packet as soon as it captures.
	sendRate = 200
)

// openWorld uses the cluster that runs, or starts one, and creates the pods that
// podsYAML describes. They have ownLabel.
func (b *bench) openWorld(ctx context.Context, podsYAML string) (*world, error) {
	w := &world{namespace: fmt.Sprintf("retina-bench-%d", os.Getpid())}
	err := b.openCluster(ctx, w)
	if err == nil {
		b.say("loading the collector's image into the nodes")
		err = w.Load(ctx, b.path("dist/retina-collector.tar"))
	}
	if err == nil {
		err = w.startPods(ctx, podsYAML)
	}
	if err != nil {
		return nil, errors.Join(err, w.close(ctx))
	}
	return w, nil
}

func (b *bench) openCluster(ctx context.Context, w *world) error {
	settings, err := lab.FromEnvironment()
	if err != nil {
		return err
	}
	if w.Cluster, err = lab.Open(settings); !errors.Is(err, lab.ErrNotRunning) {
		return err
	}
	b.say("starting the e2e cluster (the first time Kubernetes is built: some minutes)")
	// Not by go run, which would not pass on that it shall end.
	program := filepath.Join(b.dir, "cluster")
	if _, err := output(ctx, "go", "build", "-o", program, b.path("e2e/cluster")); err != nil {
		return err
	}
	w.ends = append(w.ends, func(ctx context.Context) error {
		b.say("ending the e2e cluster")
		_, err := output(ctx, program, "down")
		return err
	})
	if _, err := output(ctx, program, "up"); err != nil {
		return err
	}
	w.Cluster, err = lab.Open(settings)
	return err
}

// startPods creates the namespace and its pods, and waits until they run.
func (w *world) startPods(ctx context.Context, podsYAML string) error {
	w.ends = append(w.ends, func(ctx context.Context) error {
		return w.kubectl(ctx, "", "delete", "namespace", w.namespace, "--ignore-not-found", "--timeout=60s")
	})
	if err := w.kubectl(ctx, "", "create", "namespace", w.namespace); err != nil {
		return err
	}
	if err := w.kubectl(ctx, podsYAML, "create", "-n", w.namespace, "-f", "-"); err != nil {
		return err
	}
	return w.kubectl(ctx, "", "wait", "--for=condition=Ready", "-n", w.namespace, "pod", "-l", ownLabel, "--timeout=60s")
}

// targetYAML describes a pod that sends to a closed port of its node.
func targetYAML() string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {%s: target}}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: localhost/retina-traffic:1
    imagePullPolicy: IfNotPresent
    env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]
    args: [udp-send, --to, "$(NODE):9", --count, "0", --rate, "%d"]
`, targetPod, ownLabel, targetNode, sendRate)
}

// kubectl runs kubectl as administrator.
func (w *world) kubectl(ctx context.Context, stdin string, args ...string) error {
	_, err := w.ask(ctx, stdin, args...)
	return err
}

// ask runs kubectl as administrator and returns what it printed.
func (w *world) ask(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := tame(w.Command(ctx, append([]string{"kubectl"}, args...)...))
	cmd.Stdin = strings.NewReader(stdin)
	return outputOf(cmd)
}

// quiet waits until the collectors are gone, and the node has had time to clean up.
func (w *world) quiet(ctx context.Context) error {
	return errors.Join(w.alone(ctx), sleep(ctx, time.Second))
}

// alone waits until the collectors are gone.
func (w *world) alone(ctx context.Context) error {
	return w.kubectl(ctx, "", "wait", "--for=delete", "pod", "-n", w.namespace, "-l", "!"+ownLabel, "--timeout=60s")
}

// close undoes what openWorld has done.
func (w *world) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	var errs []error
	for i := len(w.ends) - 1; i >= 0; i-- {
		errs = append(errs, w.ends[i](ctx))
	}
	return errors.Join(errs...)
}
