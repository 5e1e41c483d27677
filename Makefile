# Each target sets up what it needs on a fresh Debian machine and is quick when
# everything is there already. `make` alone lists the targets.

PYTHON ?= python3
MODEL ?= pocket
PORT ?= 9090
# More than two cores: much of the time tests wait for servers, which they start.
TEST_PROCESSES ?= 3
# Read by the tests too (tests/e2e/label_studio.py): keep the two in step.
LABEL_STUDIO_VERSION := 1.23.2
LABEL_STUDIO_VENV := .venvs/label-studio
# Installed without its own pins: what it needs is borrowed from .venv.
LABEL_STUDIO_ML_VERSION := 1.0.9
LABEL_STUDIO_ML_VENV := .venvs/label-studio-ml
MOTO_VERSION := 5.2.5
# Brings axe-core 4.12.1, without npm.
AXE_VERSION := 0.1.8
OBJECT_STORE_VENV := .venvs/s3
AXE_VENV := .venvs/axe
PODMAN_COMPOSE_VERSION := 1.6.0
CONTAINERS_VENV := .venvs/containers

PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
SITE_PACKAGES := 'import sysconfig; print(sysconfig.get_path("purelib"))'
PINNED := pyproject.toml constraints.txt
RUN_STAMP := .venv/.installed-run
DEV_STAMP := .venv/.installed-dev
LABEL_STUDIO_STAMP := $(LABEL_STUDIO_VENV)/.installed-$(LABEL_STUDIO_VERSION)
LABEL_STUDIO_ML_STAMP := $(LABEL_STUDIO_ML_VENV)/.installed-$(LABEL_STUDIO_ML_VERSION)
OBJECT_STORE_STAMP := $(OBJECT_STORE_VENV)/.installed-$(MOTO_VERSION)
AXE_STAMP := $(AXE_VENV)/.installed-$(AXE_VERSION)
CONTAINERS_STAMP := $(CONTAINERS_VENV)/.installed-$(PODMAN_COMPOSE_VERSION)

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo test test-full check bench containers format docs dev \
	label-studio label-studio-ml object-store axe system-packages clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

run: $(RUN_STAMP) ## Serve on port 9090 (PORT=) with the bundled model (MODEL=)
	@exec env MODEL="$(MODEL)" PORT="$(PORT)" .venv/bin/diffsegmenter serve

demo: dev label-studio ## The same, with a local Label Studio and a seeded project
	@exec .venv/bin/python -m tests.e2e.demo

# A process that dies ends the run: another in its place confuses pytest-xdist.
IN_PROCESSES := -n $(TEST_PROCESSES) --max-worker-restart=0
TESTED := dev label-studio label-studio-ml object-store axe system-packages

test: $(TESTED) ## All tests, with a real Label Studio, Redis, S3 server and browser
	@.venv/bin/python -m pytest $(IN_PROCESSES)

test-full: $(TESTED) ## The same, with many more random examples, others each time
	@.venv/bin/python -m pytest $(IN_PROCESSES) --hypothesis-profile=full

check: dev ## Formatting, lint, types, import rules
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: dev label-studio system-packages ## Print the measured numbers of docs/benchmarks.md (most of an hour)
	@set -e; for program in tests/bench/bench_*.py; do \
		echo "== $$program"; \
		.venv/bin/python -m "tests.bench.$$(basename "$$program" .py)"; done

containers: dev $(CONTAINERS_STAMP) ## Build the images and try docker/compose.yaml out with podman (root, 15 minutes)
	@.ci/install-system-packages buildah podman runc debootstrap netavark aardvark-dns iptables
	@.venv/bin/python -m tests.containers.try_out

format: dev ## Rewrite the code in the house style
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

docs: dev ## Write the parts of the pages that are made of the code
	@.venv/bin/python -m tests.reference_tables

dev: $(DEV_STAMP)

label-studio: $(LABEL_STUDIO_STAMP)

label-studio-ml: $(LABEL_STUDIO_ML_STAMP)

object-store: $(OBJECT_STORE_STAMP)

axe: $(AXE_STAMP)

system-packages:
	@.ci/install-system-packages redis-server chromium nginx

clean: ## Remove what the other targets made
	rm -rf .venv .venvs .cache .artifacts .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache .hypothesis *.egg-info

.venv/bin/python:
	@.ci/make-venv $(PYTHON) .venv

$(LABEL_STUDIO_VENV)/bin/python:
	@.ci/make-venv $(PYTHON) $(LABEL_STUDIO_VENV)

# Made of .venv's interpreter, whose packages it borrows.
$(LABEL_STUDIO_ML_VENV)/bin/python: | $(DEV_STAMP)
	@.ci/make-venv .venv/bin/python $(LABEL_STUDIO_ML_VENV)

$(CONTAINERS_VENV)/bin/python:
	@.ci/make-venv $(PYTHON) $(CONTAINERS_VENV)

$(AXE_VENV)/bin/python:
	@.ci/make-venv $(PYTHON) $(AXE_VENV)

$(OBJECT_STORE_VENV)/bin/python:
	@.ci/make-venv $(PYTHON) $(OBJECT_STORE_VENV)

# The development environment holds all that `run` needs, so it settles both.
$(RUN_STAMP): $(PINNED) | .venv/bin/python
	@echo "Installing the backend into .venv (a few minutes the first time)"
	@.venv/bin/python $(PIP_INSTALL) -c constraints.txt -e .
	@touch $@

$(DEV_STAMP): $(PINNED) | .venv/bin/python
	@echo "Installing the backend and its tools into .venv (a few minutes the first time)"
	@.venv/bin/python $(PIP_INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@ $(RUN_STAMP)

$(LABEL_STUDIO_STAMP): | $(LABEL_STUDIO_VENV)/bin/python
	@echo "Installing Label Studio $(LABEL_STUDIO_VERSION) into $(LABEL_STUDIO_VENV) (two minutes)"
	@$(LABEL_STUDIO_VENV)/bin/python $(PIP_INSTALL) label-studio==$(LABEL_STUDIO_VERSION)
	@touch $@

# The .pth file puts .venv's packages, and this project, behind its own: torch is not
# installed twice. Last and alone goes label-studio-ml, which would pin Flask 1.1.2.
$(LABEL_STUDIO_ML_STAMP): constraints.txt | $(LABEL_STUDIO_ML_VENV)/bin/python
	@echo "Installing label-studio-ml $(LABEL_STUDIO_ML_VERSION) into $(LABEL_STUDIO_ML_VENV)"
	@printf '%s\n' "$$(.venv/bin/python -c $(SITE_PACKAGES))" "$(CURDIR)" \
		> "$$($(LABEL_STUDIO_ML_VENV)/bin/python -c $(SITE_PACKAGES))/borrowed.pth"
	@$(LABEL_STUDIO_ML_VENV)/bin/python $(PIP_INSTALL) --no-warn-conflicts \
		-c constraints.txt colorama label-studio-tools
	@$(LABEL_STUDIO_ML_VENV)/bin/python $(PIP_INSTALL) --no-deps \
		label-studio-ml==$(LABEL_STUDIO_ML_VERSION)
	@touch $@

# Of moto's server extra, S3 needs the web server only.
$(OBJECT_STORE_STAMP): | $(OBJECT_STORE_VENV)/bin/python
	@echo "Installing an S3-compatible server into $(OBJECT_STORE_VENV)"
	@$(OBJECT_STORE_VENV)/bin/python $(PIP_INSTALL) \
		'moto[s3]==$(MOTO_VERSION)' flask flask-cors
	@touch $@

# The one file of it that is used is a script for browsers.
$(AXE_STAMP): | $(AXE_VENV)/bin/python
	@echo "Installing the accessibility checker axe-core into $(AXE_VENV)"
	@$(AXE_VENV)/bin/python $(PIP_INSTALL) --no-deps \
		axe-playwright-python==$(AXE_VERSION)
	@touch $@

$(CONTAINERS_STAMP): | $(CONTAINERS_VENV)/bin/python
	@echo "Installing podman-compose $(PODMAN_COMPOSE_VERSION) into $(CONTAINERS_VENV)"
	@$(CONTAINERS_VENV)/bin/python $(PIP_INSTALL) podman-compose==$(PODMAN_COMPOSE_VERSION)
	@touch $@
