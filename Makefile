# `make help` says what there is. Needs Rust and Go; the first use of a cluster builds one from source, which takes some minutes, once.
.DEFAULT_GOAL := help
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Not by cargo run, whose environment makes a cargo below it build what is there once more.
LOCAL := $(TARGET)/debug/local-cluster
OPERATOR := --program lockkeeper.dev/lockkeeper=$(TARGET)/debug/lockkeeper
export CARGO_TERM_COLOR ?= auto
# Part of a test's name: `make test ONLY=p3_` runs the tests of promise 3.
ONLY ?=
# A version of Kubernetes: `make test KUBERNETES=1.33`. Each is built once, from a module in tests/local-cluster/controlplane.
KUBERNETES ?=
export KUBERNETES

.PHONY: help
help: ## What there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# CI builds the examples with them, as EXAMPLES=--examples: then the features of dependencies are those of the tests, and nothing is built twice.
EXAMPLES ?=
.PHONY: build
build:
	cargo build --workspace --bins $(EXAMPLES)

.PHONY: cluster
cluster: build ## Start a Kubernetes cluster on this machine, and keep it until Ctrl-C
	$(LOCAL) up $(OPERATOR)

# The cluster of the demo: current (the one of kubectl's context), kind or local. If empty, kind where it is installed, and otherwise local.
CLUSTER ?=
IN_DEMO = PATH="$(abspath $(TARGET))/debug:$$PATH"

.PHONY: demo
demo: ## Watch Lockkeeper at work on a cluster of its own; CLUSTER=current takes the one of kubectl's context
	@cluster=$$(demo/choose.sh "$(CLUSTER)") && demo/announce.sh $(TARGET) $$cluster && $(MAKE) --no-print-directory demo-$$cluster

.PHONY: demo-local
demo-local: build
	$(IN_DEMO) TRANSCRIPT=$(abspath $(TARGET))/demo.txt $(LOCAL) run $(OPERATOR) -- demo/demo.sh
	demo/picture.sh $(TARGET)/demo.txt > $(TARGET)/demo.svg
	demo/picture.sh --same $(TARGET)/demo.svg docs/demo.svg

.PHONY: demo-current
demo-current: build
	$(IN_DEMO) demo/current.sh

.PHONY: demo-kind
demo-kind: images
	$(IN_DEMO) demo/kind.sh $(IMAGE) $(SAMPLE_IMAGE)

# The commands of docs/getting-started.md.
$(TARGET)/walk.sh: docs/getting-started.md
	mkdir -p $(TARGET)
	awk '/^```sh walk/ {on = 1; next} /^```/ {on = 0} on' $< > $@

.PHONY: walk
walk: build $(TARGET)/walk.sh ## Do what docs/getting-started.md says, on a cluster of its own
	PATH="$(abspath $(TARGET))/debug:$$PATH" $(LOCAL) run $(OPERATOR) -- sh -ex $(TARGET)/walk.sh

.PHONY: test
test: build ## Run all tests, those on a real control plane included; ONLY=p3_ runs those with p3_ in their names
	cargo test --workspace --no-run
	$(if $(ONLY),$(LOCAL) run $(OPERATOR) -- cargo test --workspace -- --test-threads=10 $(ONLY),tests/run.sh $(TARGET))

# What is promised on every version of Kubernetes that the rig can build, or on some of them: `make matrix VERSIONS="1.33 1.37"`.
VERSIONS ?= $(shell basename -a tests/local-cluster/controlplane/1.* | sort -V)

.PHONY: matrix
matrix: build $(TARGET)/walk.sh ## Try on each version of Kubernetes what is promised there, and write what holds into docs/install.md; VERSIONS=1.33 tries one
	cargo test --workspace --test cluster --no-run
	for version in $(VERSIONS); do tests/matrix/run.sh $(TARGET) $$version || exit 1; done
	LOCKKEEPER_WRITE=1 cargo test --quiet --test docs the_table_of_kubernetes_versions

OLDEST = $(firstword $(VERSIONS))
.PHONY: oldest-programs
oldest-programs:
	$(LOCAL) build --kubernetes $(OLDEST)

# What CI does of it. Nothing is written: it must hold as it is noted.
.PHONY: oldest
oldest: build $(TARGET)/walk.sh ## Try on the oldest version of Kubernetes a test or two of each promise
	cargo test --workspace --test cluster --no-run
	tests/matrix/run.sh $(TARGET) $(OLDEST) chosen

# Not in CI: it takes the control planes of three versions.
.PHONY: upgrade
upgrade: build ## Upgrade Kubernetes under held changes, and go back
	PATH="$(abspath $(TARGET))/debug:$$PATH" $(LOCAL) run --kubernetes 1.33 $(OPERATOR) -- tests/matrix/upgrade.sh $(TARGET) 1.33 1.36 1.37

# The image that users get: static programs, as the last stage of the Dockerfile says. IMAGE_PROFILE=dev builds faster, for tests.
IMAGE_PROFILE ?= release
IMAGE := $(TARGET)/lockkeeper-image.tar
STATIC := $(shell uname -m)-unknown-linux-musl
.PHONY: image
image: build ## Build the image as a tarball in the OCI layout, without Docker
	rustup target list --installed | grep -qx $(STATIC) || rustup target add $(STATIC)
	CC_$(subst -,_,$(STATIC))=$${CC:-gcc} cargo build --workspace --locked --profile $(IMAGE_PROFILE) --target $(STATIC) --bin lockkeeper --bin lockkeeper-pause
	$(LOCAL) image --out $(IMAGE) --name lockkeeper.dev/lockkeeper:$$(sed -n 's/^appVersion: *//p' charts/lockkeeper/Chart.yaml) \
	  $(foreach program,lockkeeper lockkeeper-pause,$(program)=$(TARGET)/$(STATIC)/$(patsubst dev,debug,$(IMAGE_PROFILE))/$(program))

SAMPLE_IMAGE := $(TARGET)/sample-app-image.tar
.PHONY: images
images: image ## Build the image of the sample app too, which the demo needs on other clusters than the local one
	CC_$(subst -,_,$(STATIC))=$${CC:-gcc} cargo build --workspace --locked --target $(STATIC) --bin sample-app
	$(LOCAL) image --dockerfile demo/sample-app.Dockerfile --out $(SAMPLE_IMAGE) --name lockkeeper.dev/sample-app:v1 \
	  --name lockkeeper.dev/sample-app:v2 sample-app=$(TARGET)/$(STATIC)/debug/sample-app

# Real nodes need root and namespaces. Where they cannot run, this says so and passes; on GitHub, where they can, it fails.
ON_NODE = cargo test --workspace --locked --test node
.PHONY: node
node: build ## Run the tests on real nodes (kubelet and containerd) with the image that users get; needs root
	@if why="$$($(LOCAL) real-node-possible 2>&1)"; then $(MAKE) --no-print-directory node-run; \
	else echo "NOT RUN: the tests on real nodes. $$why"; test -z "$$GITHUB_ACTIONS"; fi

.PHONY: node-run
node-run: image
	cargo test --workspace --locked --test node --test ends_with_its_owner --no-run
	cargo test --workspace --locked --test ends_with_its_owner -- --ignored
	PATH="$(abspath $(TARGET))/debug:$$PATH" $(LOCAL) run --real-node --image $(IMAGE) -- sh -ec '\
	  $(ON_NODE) -- --ignored --test-threads=4 --skip _exclusively $(ONLY) && $(ON_NODE) -- --ignored --test-threads=1 $(or $(ONLY),_exclusively)'

# Parts of the benchmark; the first one needs no cluster, and the last one has a cluster without controllers and nodes to itself.
PARTS := core hold config app scale
MEASURED = $(foreach part,$(PARTS),$(if $(findstring $(or $(ONLY),$(part)),$(part)),$(part)))
BENCH := cargo test --quiet --release --bench cluster

.PHONY: bench
bench: build ## Measure speed and size, beside a reference on the same machine; ONLY=app measures a part (core, hold, config, app, scale)
	$(BENCH) --no-run
	$(if $(filter core,$(MEASURED)),cargo test --quiet --release --bench decisions)
	$(if $(filter-out core scale,$(MEASURED)),$(LOCAL) run -- $(BENCH) -- $(filter-out core scale,$(MEASURED)))
	$(if $(filter scale,$(MEASURED)),$(LOCAL) run --bare -- $(BENCH) -- scale)

# What kubectl users apply: the chart for a cluster that holds templates, without what only helm does (hooks) or knows (whose release it is).
RENDER = template lockkeeper charts/lockkeeper -n lockkeeper-system --no-hooks --include-crds \
  --kube-version 1.36.0
NOT_OF_HELM = sed -e '/^ *app.kubernetes.io\/managed-by: Helm$$/d' -e '/^ *helm.sh\/chart: /d' -e '/^\# Source: /d' \
  -e 's/"app.kubernetes.io\/managed-by":"Helm",//' -e 's/,"helm.sh\/chart":"[^"]*"//'

.PHONY: generate
generate: build ## Write what is generated: the CRD and docs/reference.md from the Rust types, config/install.yaml from the chart
	$(TARGET)/debug/lockkeeper crd > $(TARGET)/crd.yaml
	mv $(TARGET)/crd.yaml charts/lockkeeper/crds/upgradepolicies.yaml
	helm="$$($(LOCAL) build)/helm" && { cat config/install-head.yaml && "$$helm" $(RENDER) | $(NOT_OF_HELM); } > $(TARGET)/install.yaml
	mv $(TARGET)/install.yaml config/install.yaml
	cargo build --example reference
	$(TARGET)/debug/examples/reference > $(TARGET)/reference.md
	mv $(TARGET)/reference.md docs/reference.md

.PHONY: book
book: ## Build the pages as a site with search, and check its links
	$$(.ci/cargo-tool.sh mdbook 0.5.4 --no-default-features --features search)/mdbook build --dest-dir $(abspath $(TARGET))/book
	LOCKKEEPER_BOOK=$(abspath $(TARGET))/book cargo test --quiet --test docs -- --ignored book

.PHONY: release
release: build ## Build what a release has: images, chart, plugins, checksums; TARGETS and IMAGE_PROFILE as docs/releasing.md says
	IMAGE_PROFILE=$(IMAGE_PROFILE) release/build.sh

.PHONY: release-test
release-test: build ## Check what make release has built, publish it on a registry of this machine, and install it from there; real nodes need root
	IMAGE_PROFILE=$(IMAGE_PROFILE) release/try.sh

.PHONY: workflows
workflows: ## Check the workflows for GitHub
	cd .github/tools && CGO_ENABLED=0 go tool actionlint ../workflows/*.yml

.PHONY: lint
lint: ## Formatting and clippy, warnings as errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

# SHOW=closures prints the places of one of them.
SHOW ?=
.PHONY: shape
shape: ## Numbers that say how well the code can be followed, their limits and targets
	@SHOW=$(SHOW) cargo test --quiet --test architecture no_number_gets_worse -- --nocapture
