# Everything that is done with a checkout. `make` alone lists the targets.
# CLOUD=qemu (default), openstack or local: where machines are made.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CLOUD ?= qemu
CLOUDS := qemu openstack local
ifneq ($(words $(CLOUD)) $(filter $(CLOUDS),$(CLOUD)),1 $(strip $(CLOUD)))
$(error CLOUD can be qemu, openstack or local; '$(CLOUD)' is none of them)
endif
export CUMULUS_CLOUD := $(CLOUD)
export MAKE_BEGAN := $(shell date +%s)
# The NFS server and the template's build need root rights.
AS_ROOT := $(if $(filter qemu,$(CLOUD)),scripts/as-root.sh)
PYTHON := $(AS_ROOT) .venv/bin/python
CUMULUS := $(AS_ROOT) .venv/bin/cumulus

.PHONY: help setup setup-dev demo run check test test-all test-openstack faults lint template snapshot bench doctor state clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what running needs (packages, virtual environment, Terraform)
	@scripts/setup.sh run $(CLOUD)

setup-dev: ## Install what tests and checks need, too
	@scripts/setup.sh dev qemu local

demo: setup ## Search a real spectrum file in a real VM and print the result; CLOUD=local: without a VM
	@$(PYTHON) -m scripts.demo

run: setup ## Run the controller on this computer
	@$(PYTHON) -m scripts.ready
	@exec $(CUMULUS) serve

template: setup ## Build the template VM; where there is one, boot it to install a new app on it
	@$(PYTHON) -m scripts.ready --template

snapshot: setup ## Copy the template's disk, try every app on a machine of the copy, promote it
	@$(CUMULUS) snapshot create

check: setup-dev ## Run the static checks and the unit tests: no VM, no NFS server
	@.venv/bin/python -m tests check

test: setup-dev ## Run all checks and tests (real VMs among them)
	@$(PYTHON) -m tests test

test-all: setup-dev ## The same with the slow sweeps (a thousand lives under faults, 10,000 files, 2 GB); writes docs/reliability.md
	@$(PYTHON) -m tests all

test-openstack: setup-dev ## Whole lives of jobs on the OpenStack cloud of OS_CLOUD (tests/openstack/conftest.py says what it needs)
	@scripts/as-root.sh .venv/bin/python -m pytest -m openstack tests/openstack

faults: setup-dev ## The long fault suite: every kill point, a thousand lives under random faults; writes docs/reliability.md
	@$(PYTHON) -m tests.faults

lint: setup-dev ## Run the static checks: Python, Terraform, Ansible, imports
	@scripts/lint.sh

bench: setup-dev ## Measure and write docs/performance.md
	@$(PYTHON) -m tests.bench

doctor: setup ## Say what this computer lacks
	@$(CUMULUS) doctor

state: setup ## List the workspaces of Terraform: whose machine each is, its lock, what is the matter with it
	@$(CUMULUS) state

clean: ## End what still runs; remove the virtual environment and caches (var/ with its jobs stays)
	@if [ -x .venv/bin/cumulus ]; then $(CUMULUS) stop --machines; fi
	@$(AS_ROOT) rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .ansible build ./*.egg-info
	@$(AS_ROOT) find . -name __pycache__ -not -path './var/*' -prune -exec rm -rf {} +
