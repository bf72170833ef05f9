# Three commands do the main things: `make demo` scores an example, `make serve` starts the service,
# `make test` passes the tests.
PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# A command line that is called a thousand times is compiled once, whatever the caller's shell prefers.
unexport PYTHONDONTWRITEBYTECODE
# Tests run side by side; benchmarks never do.
WORKERS ?= $(shell nproc)
# A temporary folder of its own: pytest's shared one is cleaned up by every other run on the machine.
PYTEST = folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(BED) $(BIN)/pytest -n $(WORKERS) --dist worksteal --basetemp "$$folder/t"
# With a Docker engine, started where none answers and stopped again afterwards.
test test-docker reliability chaos: BED = scripts/testbed run

.PHONY: help install demo serve test check lint unit test-docker test-k8s test-k8s-node .test-k8s-node reliability chaos bench docs constraints clean

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/bin/python:
	@scripts/make-venv $(PYTHON)

.venv/.core: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing AutoScorer into .venv …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@

.venv/.dev: .venv/.core
	@echo "installing the test tools into .venv …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: .venv/.core ## Make .venv with the autoscorer command

demo: .venv/.core ## Score an example: run a program in the sandbox, compare with the truth
	@scripts/demo

serve: .venv/.core ## Start the service on this checkout, at http://127.0.0.1:8000
	@scripts/serve

test: .venv/.dev ## Run the tests, bringing up what they need
	@scripts/test-services
	@$(PYTEST) -m 'not long and not k8s'

test-docker: .venv/.dev ## Run the tests that need a Docker engine, and no others
	@scripts/test-services
	@$(PYTEST) -m 'docker and not long and not k8s'

# The cluster takes a processor by itself, so it is up only for what is measured on it.
bench: BED = scripts/testbed run $(if $(filter k8s,$(GROUP)),scripts/k8s-cluster run)

test-k8s: BED = scripts/testbed run scripts/k8s-cluster run
# They wait for the cluster most of the time.
test-k8s: WORKERS = $(shell echo $$((2 * $$(nproc))))
test-k8s: .venv/.dev ## Run the tests that need a Kubernetes cluster: AUTOSCORER_TEST_KUBECONFIG, else one started here
	@scripts/test-services
	@$(PYTEST) -m 'k8s and not node and not long'

test-k8s-node: BED = scripts/testbed run scripts/k8s-cluster run
test-k8s-node: .venv/.dev ## Run the cluster's long tests, and those that take its node down: eviction, preemption, a lost node
	@scripts/test-services
	@$(PYTEST) -m 'k8s and long and not node'
	@$(MAKE) --no-print-directory WORKERS=0 .test-k8s-node

.test-k8s-node: BED = scripts/testbed run scripts/k8s-cluster run
.test-k8s-node:
	@$(PYTEST) -m 'k8s and node'

check: .venv/.dev ## Lint, types, import rules and the quick tests, side by side; under a minute
	@$(MAKE) --no-print-directory -j2 lint unit

lint: .venv/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

unit: .venv/.dev
	@$(PYTEST) -m 'not slow and not long and not sandbox and not docker and not k8s'

reliability: .venv/.dev ## Try every attack and fault on a real engine and write docs/RELIABILITY.md
	@scripts/test-services
	@$(BED) scripts/reliability

chaos: .venv/.dev ## Break the service's workers in every way and write the counts into docs/RELIABILITY.md
	@scripts/test-services long
	@$(BED) scripts/chaos

bench: .venv/.dev ## Measure against the alternatives and write docs/BENCHMARKS.md (GROUP=tables: that part; GROUP=k8s: on a cluster)
	@$(BED) $(BIN)/python -m benchmarks $(GROUP)

docs: .venv/.dev ## Write the generated tables into docs/
	@$(BIN)/python scripts/make_docs.py

# redis asks for async-timeout on Python before 3.11.3, such as Debian 12's own.
constraints: .venv/.dev ## Pin what is installed now
	@{ $(BIN)/pip freeze --exclude-editable --exclude autoscorer --exclude async-timeout; echo async-timeout==5.0.1; } \
		| LC_ALL=C sort -f > constraints.txt

clean: ## Remove what make made
	@rm -rf .venv .cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
