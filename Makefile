# oomtrace. `make` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

GO          ?= go
BIN         := bin/oomtrace
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOTESTSUM   := gotest.tools/gotestsum@v1.13.0

# Debian packages: the pinned compiler with what generating needs, compilers for the
# programs that tests profile, file systems for them, what the documentation pipes
# events through, and a browser for the pages of report. QEMU, the guests' kernels and
# the container runtimes of the tests are cmd/vmtest's own matter: it unpacks packages
# into a cache and installs nothing.
PACKAGES := clang-19 llvm-19 libbpf-dev linux-libc-dev gcc g++ libc6-dev e2fsprogs zstd jq chromium

# A release is named by its tag; anything else by its commit alone.
RELEASE := $(shell git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null | sed 's/^v//')
COMMIT  := $(shell git describe --always --abbrev=12 --dirty --exclude '*' 2>/dev/null)
LDFLAGS := -s -w $(if $(RELEASE),-X main.release=$(RELEASE)) $(if $(COMMIT),-X main.commit=$(COMMIT))

# Go runs as whoever calls make, so that its caches stay theirs; only programs and
# test binaries that trace get root, through sudo where it is needed and there.
USER_ID := $(shell id -u)
SUDO    := $(if $(filter 0,$(USER_ID)),,$(shell command -v sudo || echo no-sudo))
TESTENV  = OOMTRACE_TEST_ALL=1
EXEC     = $(if $(SUDO),-exec '$(SUDO) env $(TESTENV) TMPDIR=$(or $(TMPDIR),/tmp)')

define NEED_ROOT
case "$(SUDO)" in \
'') ;; \
no-sudo) echo "this needs root, and there is no sudo: run make as root" >&2; exit 1 ;; \
*) echo "not root: $(SUDO) is used for this step" >&2 ;; \
esac
endef
define MISSING
missing=$$(for p in $(PACKAGES); do \
	dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done)
endef

# Of test-guests: KERNEL=6.1,6.12, CGROUP=v2, RUN=TestKills, JOBS=2, NODE=128. `make test` takes
# each kernel once, the oldest with cgroup v1; by itself it takes all there is.
comma  := ,
KERNEL ?= all
CGROUP ?= both
RUN    ?= .
JOBS   ?= 1
# MiB of a guest's memory in a second node
NODE   ?=
# One more variable for the tests' environment
WITH   ?=
# Of fuzz, for each fuzz test
FUZZTIME ?= 10s

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/oomtrace: static, stripped, reproducible
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/oomtrace

.PHONY: run
run: build root ## build and trace live; flags go into ARGS='-e oom -o json'
	$(SUDO) $(BIN) $(ARGS)

.PHONY: demo
demo: build root ## build and show a real kill: a small cgroup thrashes, leaks and is killed
	$(SUDO) $(BIN) demo $(ARGS)

.PHONY: test
test: announce deps ## install what is needed (said first), then run every check and test there is
	@began=$$SECONDS; failed=; \
	for step in lint generated cross unit test-runtimes \
		'test-guests KERNEL=5.10 CGROUP=v1' 'test-guests KERNEL=6.1,6.12,7.3 CGROUP=v2 JOBS=2' \
		'test-guests KERNEL=6.12 CGROUP=v2 NODE=128 RUN=TestScenarios/(fentry|tracepoint)/(nodes_of|dirty_files)'; do \
		at=$$SECONDS; echo "== $$step"; \
		if $(MAKE) $$step; then said=passed; else said=FAILED; failed+=" $$step;"; fi; \
		echo "== $$step: $$said in $$((SECONDS - at)) s"; \
	done; \
	if [ -n "$$failed" ]; then echo "== FAILED:$$failed after $$((SECONDS - began)) s" >&2; exit 1; fi; \
	echo "== all passed in $$((SECONDS - began)) s"

.PHONY: unit
unit: TESTENV += OOMTRACE_TEST_RUNTIMES=$(shell $(GO) run ./cmd/vmtest --runtimes) OOMTRACE_TEST_CRI=$(CURDIR)/bin/cri
unit: root runtimes ## unit tests, seeds of the fuzz tests, and live tests on this kernel (root)
	$(TESTENV) $(GO) run $(GOTESTSUM) --format pkgname --rerun-fails=1 --rerun-fails-max-failures=3 --packages=./... -- \
		-p 1 -count 1 $(EXEC)

# Container runtimes for the tests, and a client that plays the kubelet: a module
# of its own, for it needs gRPC.
.PHONY: runtimes
runtimes:
	$(GO) run ./cmd/vmtest --runtimes
	CGO_ENABLED=0 $(GO) build -C tracer/testdata/cri -trimpath -ldflags '-s -w' -o $(CURDIR)/bin/cri .

.PHONY: test-guests
test-guests: ## live tests on other kernels in QEMU: KERNEL=6.12 CGROUP=v2 RUN=TestKills JOBS=1
	CGO_ENABLED=0 $(GO) test -c -trimpath -o bin/tracer.test ./tracer
	$(GO) run ./cmd/vmtest --jobs $(JOBS) --timeout 35m --kernel $(subst $(comma), --kernel ,$(KERNEL)) --cgroup $(CGROUP) \
		--file bin/tracer.test:/bin/ --file cmd/vmtest/again.sh:/bin/again \
		$(if $(NODE),--node $(NODE) --append numa_balancing=disable --env OOMTRACE_TEST_NODES=1) \
		$(if $(WITH),--env $(WITH)) --env OOMTRACE_TEST_GLOBAL=1 --env OOMTRACE_TEST_ALL=1 \
		-- again tracer.test -test.v -test.run '$(RUN)'

# The same tests of real runtimes that unit has with cgroup v1 and the runtimes' own
# driver, and those of systemd's own units.
.PHONY: test-runtimes
test-runtimes: RUN = ^Test(Units|Runc|Crun|Containerd|Pod|Docker|Podman|LXC)$$
test-runtimes: runtimes ## container runtimes and systemd's units in a guest with cgroup v2 and systemd's driver
	CGO_ENABLED=0 $(GO) test -c -trimpath -o bin/tracer.test ./tracer
	$(GO) run ./cmd/vmtest --systemd --timeout 15m --kernel 6.12 --cgroup v2 \
		--file bin/tracer.test:/bin/ --file bin/cri:/bin/ --file cmd/vmtest/again.sh:/bin/again \
		--env OOMTRACE_TEST_GLOBAL=1 --env OOMTRACE_TEST_ALL=1 --env OOMTRACE_TEST_DRIVER=systemd \
		--env OOMTRACE_TEST_RUNTIMES=/ --env OOMTRACE_TEST_CRI=/vmtest/bin/cri \
		-- again tracer.test -test.v -test.run '$(RUN)'

.PHONY: fuzz
fuzz: ## run every fuzz test for FUZZTIME=10s
	@grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' bpf cmd output tracer | sed 's/:func / /' | \
	while read -r file name; do \
		echo "== $$name in $$(dirname "$$file")"; \
		$(GO) test "./$$(dirname "$$file")" -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x; \
	done

.PHONY: bench
bench: root ## measure the overhead beside its budget (root; takes minutes, wants an idle machine)
	$(GO) test ./tracer -run '^$$' -bench . -benchtime 1x -timeout 30m $(EXEC)
	$(GO) test ./cmd/oomtrace -run '^$$' -bench . -benchtime 1x

.PHONY: lint
lint: ## gofmt, go vet, staticcheck; import rules and file sizes are checked by the tests
	@unformatted=$$(gofmt -l bpf cmd output tracer); \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):" $$unformatted >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) test -count 1 -run '^(TestImports|TestRules|TestProcess|TestSizes|TestTopLevel|TestDocumented)$$' ./tracer/event

.PHONY: fmt
fmt: ## format the Go code
	gofmt -w bpf cmd output tracer

.PHONY: cross
cross: ## build for macOS (live tracing left out) and for arm64
	GOOS=darwin $(GO) build -o /dev/null ./cmd/oomtrace
	GOOS=linux GOARCH=arm64 $(GO) build ./...

.PHONY: generate
generate: ## rebuild the eBPF objects and their Go twins with clang-19
	$(GO) generate ./bpf

.PHONY: generated
generated: ## check that the committed eBPF objects are what the sources give
	@before=$$(sha256sum bpf/*_bpfel.*); \
	$(MAKE) generate; \
	if ! sha256sum --check --quiet <<< "$$before"; then \
		echo "the generated files above were not what their sources give; they are now: commit them" >&2; exit 1; \
	fi

.PHONY: deps
deps: ## install the Debian packages that generating and testing need
	@$(MISSING); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	command -v apt-get >/dev/null || { echo "no apt-get here: install by other means:" $$missing >&2; exit 1; }; \
	$(NEED_ROOT); \
	$(SUDO) apt-get update -q; \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing

.PHONY: clean
clean: ## remove what was built
	rm -rf bin

.PHONY: announce
announce:
	@$(MISSING); \
	echo "make test installs:" $${missing:-"no Debian package, all are here ($(PACKAGES))"}
	@echo "  beside them, into caches of yours: Go modules, staticcheck, QEMU with 4 Debian kernels (160 MB), container runtimes (150 MB), systemd (30 MB)"

# Says how a step gets root, or why it cannot.
.PHONY: root
root:
	@$(NEED_ROOT)
