# `make` lists the targets. Everything happens in .venv (SOP_VENV), made from constraints.txt.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := $(or $(SOP_VENV),$(CURDIR)/.venv)
BIN := $(VENV)/bin
PY := $(BIN)/python
ARGS ?=

# A machine that forbids byte code makes every start of Airflow many times slower.
unexport PYTHONDONTWRITEBYTECODE
# An Airflow of yours must neither be used nor changed by ours.
unexport AIRFLOW_HOME AIRFLOW_CONFIG
export SOP_VENV := $(VENV)

.DEFAULT_GOAL := help
.PHONY: help run test test-fast test-docker test-kubernetes lint types layers bench bench-engine bench-fleet bench-kubernetes cluster cluster-simulated cluster-down image constraints
.PHONY: model test-model env env-run env-bench packages cluster-packages format clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: env-run  ## start a local Airflow, run an SOP, show its progress and result (PORT=, SOP=, CONF=, ARGS=--once)
	@exec $(PY) -m tools.dev.run $(if $(PORT),--port $(PORT)) $(if $(SOP),--sop $(SOP)) $(if $(CONF),--conf '$(CONF)') $(ARGS)

test: env packages  ## every test, with the limits of coverage (SOP_TEST_CLUSTER=no: without a cluster)
	@exec $(PY) -m tools.dev.test $(ARGS)

test-fast: env  ## within two minutes: the tests that need nothing running and take less than a second each
	@exec $(PY) -m pytest -q -n 2 -m "not airflow and not postgres and not kubernetes and not docker and not model and not slow" $(ARGS)

lint: env  ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: env  ## let ruff correct what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: env  ## mypy --strict
	@$(BIN)/mypy $(if $(SOP_CACHE),--cache-dir $(SOP_CACHE)/mypy) airflow_sop_provider dag_factory tools

layers: env  ## import-linter: which room may import which
	@$(BIN)/lint-imports

bench: env env-bench  ## the figures of the design, from one run
	@DAG_FACTORY_PYTHON=$(VENV)-bench/bin/python exec $(PY) -m benchmarks $(ARGS)

bench-engine: env packages  ## the engine's API under load: 4,000 executions, 350 calls a second (ARGS=--quick: shortly)
	@exec $(PY) -m benchmarks engine history $(if $(SQLITE),,--postgres) $(ARGS)

bench-fleet: env packages  ## the fleet's gateway: a call against the same without it, calls a second, open sessions; an agent's start
	@exec $(PY) -m benchmarks fleet agents $(if $(SQLITE),,--postgres) $(ARGS)

# not through its prerequisites: ARGS are the benchmarks' own, and make would hand them to the cluster's commands, too
bench-kubernetes:  ## the figures of Kubernetes: against KubernetesPodOperator, and thousands of pods at once
	@$(MAKE) --no-print-directory cluster-simulated ARGS=
	@exec $(PY) -m benchmarks kubernetes scale $(ARGS)

cluster: env cluster-packages  ## a real Kubernetes on this machine (needs root and Go; KUBECONFIG: use that one)
	@exec $(PY) -m tools.cluster up $(ARGS)

cluster-simulated: cluster  ## and simulated nodes beside the real one, for thousands of pods
	@exec $(PY) -m tools.cluster simulate

cluster-down: env  ## end it (ARGS=--wipe: forget its state)
	@exec $(PY) -m tools.cluster down $(ARGS)

image: env cluster-packages  ## build the runner's image without a container engine (ARGS=--agents: that of agents)
	@exec $(PY) -m tools.cluster image $(ARGS)

test-docker: env cluster-packages  ## the tests that need a container engine: DOCKER_HOST or Podman
	@exec $(PY) -m pytest -q -m docker $(ARGS)

test-kubernetes: env  ## the tests that need a cluster: `make cluster` or KUBECONFIG
	@exec $(PY) -m pytest -v -n 3 -m "kubernetes and not alone" $(ARGS)
	@exec $(PY) -m pytest -v --timeout=1800 -m "kubernetes and alone" $(ARGS)

model: env  ## a real small model without a network: fetch, build (once, minutes); ARGS=serve: serve it
	@exec $(PY) -m tools.model $(ARGS)

test-model: model  ## the tests that need it
	@exec $(PY) -m pytest -v --timeout=900 -m model

constraints: env  ## pin the newest versions that fit pyproject.toml
	@$(PY) -m tools.dev.constraints

env:  # the virtual environment; a moment when nothing changed
	@$(PYTHON) -m tools.dev.environment dev

env-run:  # the same without what only tests need
	@$(PYTHON) -m tools.dev.environment run

env-bench:  # beside it: the bench's yardstick
	@SOP_VENV=$(VENV)-bench $(PYTHON) -m tools.dev.environment bench

cluster-packages:  # Debian's packages of a node
	@$(PYTHON) -m tools.dev.debian cluster

packages:  # Debian's packages that tests use
	@$(PYTHON) -m tools.dev.debian

clean:  ## remove caches, build results and the local Airflow
	rm -rf .airflow .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov dist build
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean  ## and the environment
	rm -rf .venv .venv-bench .venv*-install.log
