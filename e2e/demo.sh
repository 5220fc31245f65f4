#!/usr/bin/env bash
# From a fresh Debian machine to a first capture: `make demo`. Needs root and
# Go; installs and builds what else is missing. Uses the cluster that
# KUBECONFIG points to, or starts the e2e cluster.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }
show() { printf '$ %s\n' "$*"; }

namespace=retina-demo
file=$PWD/retina-demo.pcapng

if ! command -v make >/dev/null || ! command -v gcc >/dev/null; then
	say "installing make and gcc"
	apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y make gcc >/dev/null
fi
say "building both programs and the collector's image"
make -s build image

mine=
if [ -n "${KUBECONFIG:-}" ]; then
	say "using the cluster of KUBECONFIG=$KUBECONFIG"
	in_cluster() { "$@"; }
	command -v kubectl >/dev/null || { echo "demo: kubectl is not installed" >&2; exit 1; }
	# Before anything is deployed: its nodes need the collectors' image.
	context=$(kubectl config current-context)
	case $context in
	kind-*) kind load image-archive dist/retina-collector.tar --name "${context#kind-}" ;;
	k3d-*) k3d image import dist/retina-collector.tar --cluster "${context#k3d-}" ;;
	minikube*) minikube image load dist/retina-collector.tar --profile "$context" ;;
	*)
		if [ -z "${RETINA_COLLECTOR_IMAGE:-}" ]; then
			cat >&2 <<-TEXT
				demo: push dist/retina-collector.tar to a registry that the nodes can pull from, for example
				  skopeo copy --all oci-archive:dist/retina-collector.tar docker://REGISTRY/retina-collector:demo
				and run again with RETINA_COLLECTOR_IMAGE=REGISTRY/retina-collector:demo, or without KUBECONFIG for a cluster on this machine.
			TEXT
			exit 1
		fi
		;;
	esac
	server=${RETINA_DEMO_SERVER:-registry.k8s.io/e2e-test-images/agnhost:2.53}
	server_args='["netexec", "--http-port=8080"]'
	client_image=$server
	client_command='["sh", "-c", "while :; do curl -s -o /dev/null http://web/hostname; sleep 0.2; done"]'
else
	mine=yes
	say "starting a cluster on this machine (the first time Kubernetes is built: some minutes)"
	make -s deps
	go run ./e2e/cluster up
	go run ./e2e/cluster load dist/retina-collector.tar
	in_cluster() { go run ./e2e/cluster run "$@"; }
	server=localhost/retina-traffic:1
	server_args='["serve"]'
	client_image=$server
	client_command='["/bin/traffic", "http-get", "--url", "http://web/hello", "--every", "200ms"]'
fi
if ! command -v tshark >/dev/null; then
	./tools/deps.sh
fi

say "deploying a server with two replicas and a client in namespace $namespace"
in_cluster kubectl apply -f - <<YAML
apiVersion: v1
kind: Namespace
metadata: {name: $namespace}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: $namespace}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}
      containers: [{name: web, image: "$server", args: $server_args}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: $namespace}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: $namespace}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: client, image: "$client_image", command: $client_command}]
YAML
in_cluster kubectl wait -n $namespace --for=condition=Available --timeout=180s deployment/web deployment/client

say "the main job: five seconds of the server's traffic, from all its nodes, in one file"
show "kubectl retina capture create deploy/web -n $namespace --duration 5s --write $(basename "$file")"
in_cluster "$PWD/bin/kubectl-retina" capture create deploy/web -n $namespace --duration 5s --write "$file"

say "its first packets, with the pods' names"
show "tshark -r $(basename "$file") -N n -c 12"
tshark -r "$file" -N n -c 12 2>/dev/null

say "how to go on"
if [ -n "$mine" ]; then
	cat <<TEXT
  go run ./e2e/cluster run \$PWD/bin/kubectl-retina capture create deploy/client -n $namespace --duration 10s
  go run ./e2e/cluster run kubectl get pods -A -o wide
  wireshark $(basename "$file")
and how to stop:
  go run ./e2e/cluster run kubectl delete namespace $namespace
  make cluster-down
TEXT
else
	cat <<TEXT
  bin/kubectl-retina capture create deploy/client -n $namespace --duration 10s
  install bin/kubectl-retina into your PATH, and it is: kubectl retina
  wireshark $(basename "$file")
and how to stop:
  kubectl delete namespace $namespace
TEXT
fi
