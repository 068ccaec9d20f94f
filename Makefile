# build, demo and test need only Go. `make help` says what the other targets need.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -X github.com/replicante-io/playbooks/internal/version.number=$(VERSION)
STATICCHECK := .cache/staticcheck
# The numbers of nodes and the primary stores (URLs; "" is the embedded one) of make bench.
NODES ?= 1000 10000
STORES ?= ""
# How long make chaos injects faults, and from which seed (0 takes a random one).
DURATION ?= 3m
SEED ?= 0
# How often make test-loaded runs the tests.
TIMES ?= 20

# Where make install installs.
DESTDIR ?=
PREFIX ?= /usr/local
PROGRAMS := replicore repliagent replictl replibench

# Packages whose integration tests start many processes or measure times: one after the other, beside nothing else.
ALONE := ./cmd/... ./election ./examples/... ./tests/robustness/... ./tests/systemd ./internal/replica ./store/mongo

.PHONY: help build install demo test test-loaded check test-deps integration chaos soak bench
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the programs into bin/
	go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

install: build ## install programs, units, users and examples: DESTDIR=tree PREFIX=/usr for a package
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/share/doc/replicante/examples
	install $(addprefix bin/,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/bin
	for unit in deploy/systemd/*.service; do \
		sed 's|/usr/bin/repli|$(PREFIX)/bin/repli|' $$unit >$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/} || exit; done
	install -D -m 644 deploy/sysusers.d/replicante.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/replicante.conf
	install -D -m 644 deploy/tmpfiles.d/replicante.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/replicante.conf
	install -m 644 docs/*.md $(DESTDIR)$(PREFIX)/share/doc/replicante
	install -m 644 deploy/examples/*.yaml $(DESTDIR)$(PREFIX)/share/doc/replicante/examples
	install -D -t $(DESTDIR)$(PREFIX)/share/doc/replicante/examples/probes examples/probes/*

demo: build ## run a playbook over five nodes, all on this machine
	@examples/demo.sh

test: ## run the tests that need only Go
	tools/gotest ./...

test-loaded: ## run make test TIMES times beside four busy processes; TIMES=20
	tools/loaded $(TIMES) ./...

check: $(STATICCHECK) ## format, vet, lint, import rules; the units, where systemd is installed
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "make check: run gofmt -w on:"; echo "$$unformatted"; exit 1; }
	go vet ./...
	go vet -tags integration ./...
	go vet -tags failpoints ./...
	$(STATICCHECK) -tags integration ./...
	$(STATICCHECK) -tags failpoints ./agent ./internal/etcd ./internal/failpoint ./internal/replica ./record ./store/mongo
	go test -count=1 ./internal/imports
	tools/check-deploy

$(STATICCHECK): tools/go.mod tools/go.sum
	cd tools && go build -o ../$@ honnef.co/go/tools/cmd/staticcheck

test-deps: ## install MongoDB, Redis, etcd and PostgreSQL for the tests (needs root and the network)
	tools/test-deps

integration: ## run all tests with -race, real servers and kills; REQUIRE=mongo,redis,etcd,postgresql,machine makes skips failures
	tools/gotest -race -tags integration -count=1 -timeout 20m $$(go list ./... | grep -vxFf <(go list $(ALONE)))
	tools/gotest -race -tags integration -count=1 -timeout 20m -p 1 $(ALONE)

chaos: ## break replicas, etcd, MongoDB and agents at random and validate the result; DURATION=3m SEED=…
	go run ./tests/robustness/chaos --duration $(DURATION) --seed $(SEED)

soak: ## make chaos for ten minutes; etcd away for three minutes during a health gate
	$(MAKE) chaos DURATION=10m
	AWAY=3m go test -tags integration -count=1 -run TestEtcdThatIsAway ./tests/robustness/failover

bench: build ## measure a run over a simulated fleet against the bare fan-out; NODES="1000 10000" STORES="mongodb://…"
	@for store in $(STORES); do for n in $(NODES); do \
		bin/replibench run --nodes $$n $${store:+--store "$$store"} || exit; done; done
