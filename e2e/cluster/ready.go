//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/kubectl-retina/kubectl-retina/e2e/internal/lab"
)

// kubectlTimeout ends a single wait of kubectl: more than the callers' own
// timeouts, which say what was waited for.
const kubectlTimeout = "--timeout=10m"

// poll calls try until it returns nil, at most every 50 ms. The error of a
// timeout is the last one of try.
func poll(ctx context.Context, what string, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (%w)", what, err, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// waitContainerd waits until every node can take images.
func waitContainerd(ctx context.Context, c *lab.Cluster) error {
	for _, node := range c.Nodes {
		err := poll(ctx, "containerd of node "+node.Name, func() error {
			socket := fmt.Sprintf("/proc/%d/root%s", node.Init.PID, containerdSocket)
			_, err := os.Stat(socket)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// waitAPI waits until the API server has started.
func waitAPI(ctx context.Context, c *lab.Cluster) error {
	ca, err := os.ReadFile(filepath.Join(c.State, "pki", "ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return errors.New("ca.crt holds no certificate")
	}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DialContext:       c.Dial,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DisableKeepAlives: true,
	}}
	return poll(ctx, "API server", func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, apiReady(), nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
}

// introduceNodes waits until the nodes have registered and writes down which
// pod addresses they give out, as a controller of a cloud would.
func (p plan) introduceNodes(ctx context.Context, c *lab.Cluster) error {
	if err := waitAPI(ctx, c); err != nil {
		return err
	}
	for i, node := range p.nodes {
		if _, err := kubectl(ctx, c, "", "wait", "--for=create", "node/"+node, kubectlTimeout); err != nil {
			return err
		}
		a := addressesOf(i + 1)
		patch := fmt.Sprintf(`{"spec":{"podCIDR":%q,"podCIDRs":[%q,%q]}}`, a.pods4, a.pods4, a.pods6)
		if _, err := kubectl(ctx, c, "", "patch", "node", node, "--patch="+patch); err != nil {
			return err
		}
	}
	return nil
}

// deploy creates what every cluster has: DNS and the runtime classes.
func (p plan) deploy(ctx context.Context, c *lab.Cluster) error {
	manifests, err := render("cluster.yaml", map[string]any{
		"DNS4":     dns4,
		"DNS6":     dns6,
		"CoreDNS":  corednsImage,
		"Replicas": min(2, len(p.nodes)),
	})
	if err != nil {
		return err
	}
	_, err = kubectl(ctx, c, string(manifests), "apply", "--server-side", "--filename=-")
	return err
}

// waitHealthy waits until the API server answers, pods can be created, all
// nodes are ready and names resolve.
func waitHealthy(ctx context.Context, c *lab.Cluster) error {
	if err := waitAPI(ctx, c); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"wait", "--for=condition=Ready", "nodes", "--all", kubectlTimeout},
		{"wait", "--for=create", "serviceaccount/default", "--namespace=default", kubectlTimeout},
		{"rollout", "status", "deployment/coredns", "--namespace=kube-system", kubectlTimeout},
	} {
		if _, err := kubectl(ctx, c, "", args...); err != nil {
			return err
		}
	}
	return nil
}
