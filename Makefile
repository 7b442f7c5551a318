# Everything a person types. The work is done by tools/setup, tools/groups and the go
# command; all that is installed goes below .tools, all that is built into bin.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup build run test bench lint generate check tidy clean test-list test-groups check-generated

ifeq ($(filter help clean,$(or $(MAKECMDGOALS),help)),)
ifeq ($(shell command -v go),)
$(error go is missing: install Go 1.26 or newer and put it in PATH)
endif
endif

export GOWORK := off
GO      := go
TOOL    := $(GO) -C tools run
MODULES := $(shell sed -n 's,^[[:space:]]*\./,,p' go.work 2>/dev/null)
MAINS   := $(patsubst %/,%,$(sort $(dir $(wildcard services/*/cmd/*/*.go samples/*/cmd/*/*.go))))
SOURCES := $(wildcard go.work $(filter-out e2e,$(MODULES)))
BIN     := bin
# ARGS are handed to outrigger up by "make run": make run ARGS="--ingress-port 9000", and to
# the benchmark by "make bench": make bench ARGS="-quick -o json".
ARGS    ?=

help: ## list what can be done
	@echo "make run starts the mesh and its sample application; make test runs every test."
	@echo
	@sed -n 's,^\([a-z%-]*\):.* ## \(.*\),  \1 \t\2,p' Makefile | expand -t 14

setup: ## install every pinned part below .tools (run and test do this for what they use)
	@$(TOOL) ./setup -root ..

# A binary is named when it is missing or anything is newer: a word for who waits. What is
# really to be done only go knows.
build: ## build the services, the command line and the sample into bin
	@mkdir -p $(BIN)
	@set -e; for main in $(MAINS) tools/outrigger; do \
		name=$${main##*/}; flags=; case $$name in sidecar-agent) flags='-s -w';; esac; \
		if [ ! -e $(BIN)/$$name ] || [ -n "$$(find $(SOURCES) -type f -newer $(BIN)/$$name -print -quit)" ]; then echo "  $$name"; fi; \
		CGO_ENABLED=0 $(GO) build -C $$main -trimpath -ldflags "$$flags" -o $(abspath $(BIN))/ . ; \
	done

run: ## start the whole mesh on this machine; Ctrl-C stops all of it
	@$(TOOL) ./setup -root .. -quiet run
	@echo "building (the first time takes a minute or two)"
	@$(MAKE) --no-print-directory build
	@exec bin/outrigger up $(ARGS)

# groups exits 1 if a group failed and 3 if none did and some could not run; make tells
# that as "Error 3" and, as always, exits 2 itself.
test: test-groups ## run every test; make test-<group> runs one group, make test-list lists them
	@exec .tools/bin/groups

test-list: test-groups
	@.tools/bin/groups -list

test-groups:
	@mkdir -p .tools/bin
	@$(GO) build -C tools -o $(CURDIR)/.tools/bin/ ./groups

test-%: test-groups
	@exec .tools/bin/groups $*

bench: build ## measure the mesh against bare Envoys and print one table (half an hour and more; ARGS=-quick: some minutes)
	@$(TOOL) ./setup -root .. -quiet run
	@CGO_ENABLED=0 $(GO) build -C e2e -trimpath -o $(CURDIR)/bin/ ./bench
	@exec bin/bench $(ARGS)

lint: test-lint ## check formatting, linters, imports, modules, contracts, generated code

generate: ## make the code in proto/gen from the contracts
	@$(TOOL) ./setup -root .. -quiet generate
	@$(TOOL) ./gencheck -root .. -write

check: check-generated ## check quickly: generated code, imports, modules, broken contracts, vet
	@$(TOOL) ./depcheck -root ..
	@$(TOOL) ./modcheck -root ..
	@$(TOOL) ./breakcheck -root ..
	@set -e; for m in $(MODULES); do echo "vet $$m"; $(GO) -C $$m vet ./...; done

check-generated:
	@$(TOOL) ./setup -root .. -quiet generate
	@$(TOOL) ./gencheck -root ..

tidy: ## bring go.mod and go.sum of every module up to date
	@set -e; for m in $(MODULES); do echo "tidy $$m"; $(GO) -C $$m mod tidy; done

clean: ## remove what was built (bin); .tools and .outrigger stay
	@rm -rf bin
