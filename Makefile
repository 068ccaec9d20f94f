# Everything but demo, build and test may need more than Go: see each line of `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -X github.com/replicante-io/playbooks/internal/version.number=$(VERSION)
STATICCHECK := .cache/staticcheck
# How many nodes, and on which primary stores (URLs; "" is the embedded one), make bench runs.
NODES ?= 1000 10000
STORES ?= ""
# How long, and by which seed (0: a random one), make chaos breaks things.
DURATION ?= 3m
SEED ?= 0

# Where make install puts things; packagers set both.
DESTDIR ?=
PREFIX ?= /usr/local
PROGRAMS := replicore repliagent replictl replibench

# Packages whose tests start many processes or measure times: one after the other, beside nothing else.
ALONE := ./cmd/... ./election ./examples/... ./tests/robustness/... ./internal/replica ./store/mongo

.PHONY: help build install demo test check test-deps integration chaos soak bench
help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the programs, into bin/
	go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

install: build ## programs, units, users and examples, for a package: DESTDIR=tree PREFIX=/usr
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/share/doc/replicante/examples
	install $(addprefix bin/,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/bin
	for unit in deploy/systemd/*.service; do \
		sed 's|/usr/bin/repli|$(PREFIX)/bin/repli|' $$unit >$(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/} || exit; done
	install -D -m 644 deploy/sysusers.d/replicante.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/replicante.conf
	install -D -m 644 deploy/tmpfiles.d/replicante.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/replicante.conf
	install -m 644 docs/*.md $(DESTDIR)$(PREFIX)/share/doc/replicante
	install -m 644 deploy/examples/*.yaml $(DESTDIR)$(PREFIX)/share/doc/replicante/examples

demo: build ## everything on this machine: a playbook runs over five nodes, live, to its end
	@examples/demo.sh

test: ## the tests that need nothing but Go
	tools/gotest ./...

check: $(STATICCHECK) ## format, vet, lint, import rules, units where systemd's tools are
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "make check: run gofmt -w on"; echo "$$unformatted"; exit 1; }
	go vet ./...
	go vet -tags integration ./...
	go vet -tags failpoints ./...
	$(STATICCHECK) -tags integration ./...
	$(STATICCHECK) -tags failpoints ./agent ./internal/etcd ./internal/failpoint ./internal/replica ./store/mongo
	go test -count=1 ./internal/imports
	tools/check-deploy

$(STATICCHECK): tools/go.mod tools/go.sum
	cd tools && go build -o ../$@ honnef.co/go/tools/cmd/staticcheck

test-deps: ## install the servers that tests can use: MongoDB, Redis (needs root, the network)
	tools/test-deps

integration: ## all tests with -race, real servers and kills; REQUIRE=mongo,redis makes skips failures
	tools/gotest -race -tags integration -count=1 -timeout 20m $$(go list ./... | grep -vxFf <(go list $(ALONE)))
	tools/gotest -race -tags integration -count=1 -timeout 20m -p 1 $(ALONE)

chaos: ## breaks replicas, etcd, MongoDB and agents at random and checks what is left; DURATION=3m SEED=…
	go run ./tests/robustness/chaos --duration $(DURATION) --seed $(SEED)

soak: ## ten minutes of chaos
	$(MAKE) chaos DURATION=10m

bench: build ## a run over a simulated fleet, against the bare fan-out; NODES="1000 10000" STORES="mongodb://…"
	@for store in $(STORES); do for n in $(NODES); do \
		bin/replibench run --nodes $$n $${store:+--store "$$store"} || exit; done; done
