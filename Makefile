# Everything runs in .venv, which is made on first use and renewed when pyproject.toml or constraints.txt change.
# PYTHON names the interpreter that makes it: `make setup PYTHON=python3.12`. Where it is not given, the first that is new enough.

IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(shell for name in python3 python3.13 python3.12 python3.11; do \
  $$name -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo $$name; done) python3)
WORKERS ?= 2
BIN := .venv/bin
export NO_MKDOCS_2_WARNING := 1
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# What a failed attempt leaves has no pip, and would count as made ever after.
define make_venv
@$(PYTHON) -m venv $(1) || { rm -rf $(1); \
  echo "$(PYTHON) could not make $(1): on Debian or Ubuntu, install python3-venv and give this command again." >&2; exit 1; }
endef

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test check docs bench bench-peers

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1@\2/p' Makefile | awk -F@ '{ printf "%-18s%s\n", $$1, $$2 }'

$(BIN)/python:
	@$(PYTHON) -c '$(IS_NEW_ENOUGH)' || \
	  { echo "$(PYTHON) is older than Python 3.11. Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(call make_venv,.venv)

# Dependency groups need pip 25.1; an older pip comes with Python 3.11.
.venv/pip: $(BIN)/python
	$(PIP) --upgrade 'pip>=25.1'
	@touch $@

# What a user has: polygraft, its dependencies and the bundled base.
.venv/installed: .venv/pip pyproject.toml constraints.txt
	$(PIP) -c constraints.txt -e '.[bundled]'
	@touch $@

# What a developer has besides: the linters, the type checker, the tests' and the pages' tools.
.venv/installed-dev: .venv/installed
	$(PIP) -c constraints.txt -e '.[bundled]' --group dev
	@touch $@

setup: .venv/installed-dev ## Make .venv with polygraft and every tool for developing it.

quickstart: .venv/installed ## Train, swap and score the sample grafts, and write a page with the results.
	$(BIN)/polygraft quickstart

test: .venv/installed-dev ## Run every test, the slow ones too.
	$(BIN)/python -m pytest -n $(WORKERS)

check: .venv/installed-dev ## Format, lint, types, imports, dependencies, pages, tests: what CI runs.
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/deptry src
	$(BIN)/mkdocs build --strict
	$(BIN)/python -m pytest -n $(WORKERS)

docs: .venv/installed-dev ## Build the pages into site/.
	$(BIN)/mkdocs build --strict

bench: .venv/installed ## Run every script in benchmarks/ in the order of their names; one that fails stops no other.
	@failed=; for script in $(sort $(wildcard benchmarks/*.py)); do \
	  echo "$$script"; $(BIN)/python $$script || failed="$$failed $$script"; \
	done; \
	[ -z "$$failed" ] || { echo "These ended with an error:$$failed. Their messages stand above." >&2; exit 1; }

# The peers' transformers is too old for polygraft's, so they have an environment of their own. It is not part of `make check`.
.venv-peers/installed: benchmarks/peers/requirements.txt
	$(call make_venv,.venv-peers)
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers/requirements.txt
	@touch $@

bench-peers: .venv/installed .venv-peers/installed ## Measure polygraft against `adapters` and `peft`: hours; ARGS=--quick in minutes.
	$(BIN)/python benchmarks/peers/run.py $(ARGS)
