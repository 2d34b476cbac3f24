# `make` lists the recipes. Everything runs from .venv, made on first use from pinned, hashed requirements.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python -m
export PYTHON

# ---- for everyone

.PHONY: help
help: ## List the recipes.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(VENV)/.runtime ## Show it at work: a simulated API, a receiver and the real daemon; ARGS= passes options on.
	@exec $(RUN) monitor demo $(ARGS)

.PHONY: test
test: $(VENV)/.dev $(VENV)/.system lint ## Run lint, types, import rules and the fast tests; ARGS= goes to pytest.
	@$(RUN) pytest --numprocesses auto --dist worksteal -m "not slow" $(ARGS)

.PHONY: test-all
test-all: $(VENV)/.dev $(VENV)/.system lint ## Run lint and every test, the slow ones too; ARGS= goes to pytest.
	@$(RUN) pytest --numprocesses auto --dist worksteal $(ARGS)

# ---- for those who change it

.PHONY: lint
lint: $(VENV)/.dev ## Check style, types and import rules; changes nothing.
	@$(RUN) ruff check --quiet .
	@$(RUN) ruff format --quiet --check .
	@$(RUN) mypy
	@$(VENV)/bin/lint-imports --no-cache >$(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

.PHONY: fix
fix: $(VENV)/.dev ## Repair what ruff can repair, and format.
	@$(RUN) ruff check --quiet --fix .
	@$(RUN) ruff format --quiet .

.PHONY: bench
bench: $(VENV)/.dev ## Measure speed and memory, side by side with the yardsticks; ARGS= names one benchmark.
	@$(RUN) tests.bench $(ARGS)

.PHONY: boot
boot: $(VENV)/.dev ## Install, run, upgrade and remove the service on a fresh Debian with a real systemd; needs root, ARGS="packaged image" names parts.
	@$(RUN) tests.boot $(ARGS)

.PHONY: kills
kills: $(VENV)/.dev $(VENV)/.system ## Kill the outbox a thousand times before a hostile receiver, the whole daemon a hundred times; KILLS= says how often.
	@KILLS=$${KILLS:-1000} $(RUN) pytest --numprocesses auto --dist worksteal -rP tests/crash $(ARGS)

.PHONY: cluster
cluster: $(VENV)/.dev $(VENV)/.system ## Kill nodes of a cluster at random while it checks 20,000 connections for ten minutes; CLUSTER_SECONDS= and others change it.
	@CLUSTER_CONNECTIONS=$${CLUSTER_CONNECTIONS:-20000} CLUSTER_SECONDS=$${CLUSTER_SECONDS:-600} $(RUN) pytest -n0 -rP tests/cluster/test_long_run.py $(ARGS)

.PHONY: docs
docs: $(VENV)/.dev ## Regenerate the manual page, the references, the JSON schemas and the OpenAPI description.
	@PYTHONPATH=. $(VENV)/bin/python docs/generate.py

.PHONY: pictures
pictures: $(VENV)/.dev $(VENV)/.system ## Take the screenshots in docs/images/ anew (needs pngquant).
	@$(RUN) tests.screenshots

# In an environment of its own, which sees ours: mutmut is no requirement of anything here.
MUTATE := $(VENV)/mutate
.PHONY: mutate
mutate: $(VENV)/.dev ## Break the decisions one by one and see whether a test notices; ARGS="monitor.domain.notifications.decide*" names some.
	@test -x $(MUTATE)/bin/mutmut || { $(PYTHON) -m venv $(MUTATE) && $(MUTATE)/bin/pip install --quiet mutmut==3.8.1; }
	@$(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		>"$$($(MUTATE)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/ours.pth"
	@$(MUTATE)/bin/mutmut run $(ARGS)
	@$(MUTATE)/bin/mutmut results

.PHONY: dist
dist: $(VENV)/.dev ## Build into dist/: wheel, source archive, image definition, SBOM, checksums; the same bytes each time.
	@.ci/dist $(abspath $(VENV))/bin/python dist
	@ls dist

.PHONY: deb
deb: dist ## Build the Debian package for this release of Debian into dist/, and check it with lintian.
	@.ci/deb dist
	@ls dist/*.deb

# Universal: one lock for every Python version and platform we support. ARGS=--upgrade takes newer versions.
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/uv --quiet pip compile --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links $(ARGS)

.PHONY: lock
lock: $(VENV)/.dev ## Pin every requirement with its hashes; ARGS=--upgrade takes newer versions.
	@$(COMPILE) pyproject.toml --extra all --output-file requirements.txt >/dev/null
	@$(COMPILE) pyproject.toml --all-extras --constraint requirements.txt --output-file requirements-dev.txt >/dev/null

.PHONY: clean
clean: ## Remove everything that the recipes made.
	@rm -rf $(VENV) build dist mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# ---- what the recipes stand on; the stamps make a repeated run start at once

$(VENV)/.runtime: requirements.txt
	@.ci/virtualenv $(VENV) requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt
	@.ci/virtualenv $(VENV) requirements-dev.txt
	@touch $@ $(VENV)/.runtime

$(VENV)/.system: .ci/system-packages | $(VENV)/.dev
	@.ci/system-packages
	@touch $@
