# kubectl retina. `make` lists the targets.
# Needed: Go, gcc (for the race detector), git. `make deps` installs the Debian packages that the tests use.

GO      ?= go
# The version of the build and the image's tag; empty is the default of internal/version.
VERSION :=
COMMIT  := $(shell git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || echo unknown)
# The name inside the image archive; empty is the one that the CLI asks for.
IMAGE   :=

version_package := github.com/kubectl-retina/kubectl-retina/internal/version
ldflags         := -s -w $(if $(VERSION),-X $(version_package).linkedVersion=$(VERSION)) -X $(version_package).linkedCommit=$(COMMIT)
# The commit is linked in; what the go command finds out of git by itself depends on the clone.
build           := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(ldflags)'

# Tools that are not in go.mod: they have hundreds of modules of their own.
golangci_lint := v2.15.0
govulncheck   := v1.9.0

cli_platforms       := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
collector_platforms := linux/amd64 linux/arm64
image_arches        := amd64 arm64
cli_binaries        := $(foreach p,$(cli_platforms),dist/kubectl-retina-$(subst /,-,$(p))$(if $(findstring windows,$(p)),.exe))
collector_binaries  := $(foreach p,$(collector_platforms),dist/retina-collector-$(subst /,-,$(p)))
# Of dist/PROGRAM-OS-ARCH[.exe]: the second to last word and the last.
os   = $(word 3,$(subst -, ,$(basename $(@F))))
arch = $(word 4,$(subst -, ,$(basename $(@F))))

# The packages below the cluster that have tests for root or tshark: those in files with the build constraint !unit.
root_packages = $(sort $(dir $(shell grep -rlE --include='*_test.go' '^//go:build .*!unit' bpf cmd internal tools e2e/internal/prometheus)))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build build-all image command-image release release-archives krew-manifest verify-release publish generate verify lint vulncheck test test-unit test-bpf \
	test-e2e test-kernels fuzz bench demo cluster cluster-down deps deps-generate deps-kernels clean root print-ldflags $(cli_binaries) $(collector_binaries)

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r t text; do printf '  %-13s %s\n' "$$t" "$$text"; done

build: ## both programs for this machine, into bin/
	$(build) -o bin/kubectl-retina ./cmd/kubectl-retina
	$(if $(filter linux,$(shell $(GO) env GOOS)),$(build) -o bin/retina-collector ./cmd/retina-collector)

build-all: $(cli_binaries) $(collector_binaries) ## the CLI for linux, darwin and windows, the collector for linux, into dist/

$(cli_binaries):
	GOOS=$(os) GOARCH=$(arch) $(build) -o $@ ./cmd/kubectl-retina

$(collector_binaries):
	GOOS=$(os) GOARCH=$(arch) $(build) -o $@ ./cmd/retina-collector

image: $(collector_binaries) ## the collector's image (amd64, arm64) as an OCI archive, dist/retina-collector.tar
	$(GO) run -ldflags '$(ldflags)' ./tools/ociimage --output dist/retina-collector.tar $(if $(IMAGE),--reference $(IMAGE)) \
		$(foreach a,$(image_arches),--binary $(a)=dist/retina-collector-linux-$(a))

command-image: $(filter dist/kubectl-retina-linux-%,$(cli_binaries)) ## the command's own image (amd64, arm64), for `metrics serve` in a cluster, dist/kubectl-retina.tar
	$(GO) run -ldflags '$(ldflags)' ./tools/ociimage --program kubectl-retina --output dist/kubectl-retina.tar $(if $(IMAGE),--reference $(IMAGE)) \
		$(foreach a,$(image_arches),--binary $(a)=dist/kubectl-retina-linux-$(a))

release_dir := dist/release
# The times in a release are those of its commit.
release release-archives: export SOURCE_DATE_EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
release: image command-image release-archives ## what a release publishes, into dist/release: archives, images, SBOMs, krew manifest, checksums (VERSION=v1.2.3)
release: release_images := dist/retina-collector.tar dist/kubectl-retina.tar

release-archives: build-all
	$(GO) run -ldflags '$(ldflags)' ./tools/release --output $(release_dir) $(addprefix --platform ,$(cli_platforms)) $(addprefix --image ,$(release_images))

krew-manifest: release ## release, and keep its manifest for krew in the tree
	cp $(release_dir)/krew-manifest.yaml krew-manifest.yaml

verify-release: ## make the release of the last commit twice, elsewhere and without a cache, and compare every byte
	./tools/verify-release.sh VERSION=$(VERSION)

publish: ## push the images of dist/release, and make a GitHub release of the rest (VERSION, GH_TOKEN; for the release workflow)
	./tools/publish.sh $(VERSION)

generate: ## compile the BPF programs and write their Go bindings (the only target that needs clang and llvm)
	$(GO) generate ./bpf/...

verify: ## formatting, go vet (for macOS and Windows too), go.mod, and whether the generated files are up to date (where clang 14 is; VERIFY_GENERATED=1: or fail)
	@unformatted="$$(gofmt -l .)"; test -z "$$unformatted" || { echo "not gofmt'ed:" $$unformatted >&2; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags unit ./...
	GOOS=darwin $(GO) vet -tags unit ./...
	GOOS=windows $(GO) vet -tags unit ./...
	$(GO) mod tidy -diff
	$(GO) mod verify
	./tools/verify-generated.sh

lint: ## what golangci-lint finds (built where it is not installed)
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(golangci_lint) run
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(golangci_lint) run --build-tags unit

vulncheck: ## known vulnerabilities in what the programs call (asks vuln.go.dev)
	$(GO) run golang.org/x/vuln/cmd/govulncheck@$(govulncheck) ./cmd/...

test: root deps verify test-unit test-bpf test-e2e ## everything that must pass (root; starts the e2e cluster)

test-unit: ## the tests that need neither root nor a cluster
	$(GO) test -race -tags unit ./...

test-bpf: root ## the BPF programs on real interfaces, and written files under tshark (root)
	$(GO) test -race -count=1 $(addprefix ./,$(root_packages))

test-kernels: ## the BPF programs on older and newer kernels, in virtual machines (takes an hour)
	$(GO) run ./e2e/kernels

test-e2e: root cluster ## the programs on the real cluster (root)
	$(GO) test -count=1 -timeout 70m ./e2e/

fuzz: ## every fuzz target for 20 seconds
	@set -e; for package in $$($(GO) list ./internal/...); do \
		for target in $$($(GO) test -tags unit -list '^Fuzz' $$package | sed -n '/^Fuzz/p'); do \
			$(GO) test -tags unit -run '^$$' -fuzz "^$$target\$$" -fuzztime 20s $$package; \
		done; \
	done

bench: root deps cluster ## the numbers of the README, measured on this machine (root)
	$(GO) run ./e2e/bench

demo: ## from a fresh machine to a first capture (root)
	./e2e/demo.sh

cluster: root ## start the e2e cluster, or use the one that runs (root)
	$(GO) run ./e2e/cluster up

cluster-down: root ## end the e2e cluster and sweep what it left (root)
	$(GO) run ./e2e/cluster down

deps: ## install the Debian packages that the tests and the e2e cluster use, where missing (root)
	./tools/deps.sh
	$(GO) run ./e2e/cluster deps

deps-generate: ## install the Debian packages that make generate uses, where missing (root)
	./tools/deps.sh generate

deps-kernels: ## install the Debian packages that make test-kernels uses, where missing (root)
	./tools/deps.sh kernels

clean: ## remove bin/ and dist/
	rm -rf bin dist

root:
	@test "$$(id -u)" = 0 || { echo "this needs root: it attaches BPF programs and starts a cluster in network namespaces ('make test-unit' does not)" >&2; exit 1; }

print-ldflags:
	@echo "$(ldflags)"
