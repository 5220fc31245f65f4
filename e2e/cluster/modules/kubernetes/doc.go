// Package kubernetes pins the Kubernetes programs of the e2e cluster. They are
// built from this module, apart from the project's own dependencies. For
// another version, change every v0.X.Y and v1.X.Y in go.mod, run go mod tidy
// here, and set kubernetesVersion in plan.go.
package kubernetes

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubectl"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
