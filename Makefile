# Two commands matter: `make lab` builds the whole cloud on this computer, `make test` runs every test.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
SCENARIOS := $(notdir $(patsubst %/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))
# What no playbook uses yet has no place in the hour of all tests: make role-wireguard.
ALONE := print_server wireguard

.PHONY: help
help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.done ## Install what the lab and the tests need into .venv

$(VENV)/.done: requirements.txt requirements-dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not here; install Python 3.11 or newer, or name yours: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get -qq update && apt-get -qq install -y python3-venv; \
	  else echo "make: install python3-venv first: sudo apt-get install python3-venv"; exit 1; fi; }
	@echo "     0 s  virtual environment with Ansible (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@for try in 1 2 3; do $(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt && break; \
	  [ $$try != 3 ] || exit 1; echo "the package registry hiccuped; trying again"; sleep 5; done
	@touch $@

.PHONY: lab
lab: setup ## Build the reference site on this computer, or bring it back
	@python -m tests.lab up

.PHONY: lab-status
lab-status: setup ## Say what of the lab runs
	@python -m tests.lab status

.PHONY: lab-down
lab-down: setup ## Remove everything that the lab made
	@python -m tests.lab down

.PHONY: lint
lint: setup ## Linters of Ansible, YAML and Python
	@ruff check . && ruff format --check .
	@yamllint --strict .
	@ansible-lint --offline --strict
	@python tests/generate.py --check

.PHONY: sanity
sanity: setup ## Build the collection, install it, and run ansible-test sanity on it
	@python tests/sanity.py

.PHONY: unit
unit: setup ## Unit and contract tests: no Docker, no network
	@python -m pytest --numprocesses $$(($$(nproc) + 1)) --dist loadgroup tests/unit tests/contract

.PHONY: check
check: lint unit sanity docs-site ## The quick part of the tests, for every day

.PHONY: image
image: setup
	@python -m tests.lab image

.PHONY: roles
roles: image ## The roles in Docker, three at a time: make role-redis for one
	@$(MAKE) --no-print-directory --jobs 3 --output-sync=target $(addprefix role-,$(filter-out $(ALONE),$(SCENARIOS)))

role-%: image
	@molecule test -s $*

.PHONY: lab-test
lab-test: setup ## The whole site from nothing, twice, and what it does when things fail
	@python -m pytest --capture=no tests/lab

.PHONY: machine-disks
machine-disks: setup
	@python -m tests.machine

.PHONY: machine-test
machine-test: machine-disks ## Machines with a kernel of their own, in QEMU: make machine-gpu_passthrough for one role
	@python -m pytest --numprocesses 4 --durations 0 tests/machine

machine-%: machine-disks
	@python -m pytest --numprocesses 3 --durations 0 tests/machine/test_$*.py

.PHONY: test
test: setup ## Everything
# The linters leave a processor idle half of the time.
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target machine-disks lint sanity docs-site
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory roles
	@$(MAKE) --no-print-directory machine-test
	@$(MAKE) --no-print-directory lab-test

.PHONY: benchmark
benchmark: setup ## A fleet of 100 containers, beside the peer's modules
	@python tests/benchmark/fleet.py

.PHONY: traps
traps: setup ## What users of the peer's modules suffer from, tried with both: docs/traps.md
	@python tests/benchmark/traps.py

.PHONY: docs
docs: setup ## Fill the tables of the roles' READMEs from their argument specs
	@python tests/generate.py

SITE := .cache/docs

.PHONY: docs-site
docs-site: setup ## HTML of all modules, plugins and roles: .cache/docs/html/index.html
	@mkdir -p $(SITE)/rst && chmod go-w $(SITE)/rst
	@antsibull-docs --config-file docs/antsibull-docs.cfg collection --use-current --fail-on-error --cleanup everything \
	  --squash-hierarchy --dest-dir $(SITE)/rst onprem.cloud
	@sphinx-build -q -W --keep-going -c docs $(SITE)/rst $(SITE)/html
