# Every target works from a fresh clone on a machine with Python 3.11 or later, make and a package index.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
TOOLS := .venv-tools/bin
PIP := python -m pip install --quiet --disable-pip-version-check
# Real text for the tests that want it; they skip, saying so, where it is absent.
ifneq ($(wildcard ../shared/data),)
export SSL_PDR_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help setup demo curve test lint types format bench faults fuzz clean lock audit test-lowest test-newest

help:  ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Create .venv and install everything with pinned versions

$(STAMP): pyproject.toml constraints.txt requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ssl-pdr needs Python 3.11 or later; got $$($(PYTHON) --version). Try: make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/$(PIP) --only-binary :all: --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/$(PIP) --constraint constraints.txt torch
	$(BIN)/$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## Run the main job: a real encoder, real text, half of the labels
	$(BIN)/ssl-pdr train --labelled-frac 0.5 --reg vat --div shl --output runs/demo --overwrite

curve: setup  ## Draw a label-budget curve: what are few labels worth with unlabelled text?
	$(BIN)/ssl-pdr curve --grid benchmarks/label_curve/small.toml

test: lint types  ## Run everything that guards the code: lint, types, tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## Check types
	$(BIN)/mypy

format: setup  ## Mend style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## Measure what a training step costs
	$(BIN)/python -m benchmarks.step_cost --only cost

faults: setup  ## Kill, starve and cut off real runs, and see that nothing is lost
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.faults

fuzz: setup  ## Give the command line more than two thousand bad inputs
	$(BIN)/python -m benchmarks.fuzz --jobs 2

clean:  ## Remove what the other targets made
	rm -rf .venv .venv-* .mypy_cache .pytest_cache .ruff_cache runs

test-lowest: .venv-lowest/.installed  ## Run the tests with the lowest versions that pyproject.toml allows (PyTorch as pinned)
	$(AGAINST)
test-newest: .venv-newest/.installed  ## Run the tests with the newest versions that pyproject.toml allows (PyTorch as pinned)
	$(AGAINST)

AGAINST = OMP_NUM_THREADS=1 $(<D)/bin/python -m pytest -n $(JOBS) --dist worksteal $(TESTS)
JOBS ?= 2
TESTS ?=

.venv-lowest/.installed .venv-newest/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	grep '^torch==' constraints.txt > $(@D)/constraints.txt
	[ $(@D) = .venv-newest ] || grep -oE '"[a-z0-9-]+>=[0-9.]+' pyproject.toml | tr -d '"' | grep -vE '^torch>|stubs' | sed 's/>=/==/' >> $(@D)/constraints.txt
	$(@D)/bin/$(PIP) --upgrade --constraint $(@D)/constraints.txt --editable '.[embedded,ray,dev]'
	@touch $@

$(TOOLS):
	$(PYTHON) -m venv .venv-tools
	$(TOOLS)/$(PIP) uv pip-audit

lock: $(TOOLS)  ## Write requirements.lock anew: the versions of constraints.txt, with the hashes of all their wheels
	printf 'hatchling\neditables\n' | $(TOOLS)/uv pip compile pyproject.toml - --extra embedded --extra dev --constraint constraints.txt --universal --python-version 3.11 \
		--generate-hashes --only-binary :all: --no-emit-package torch --no-header --no-annotate --no-emit-index-url --quiet --output-file requirements.lock

audit: $(TOOLS)  ## Ask the index's advisories about every version that `make` installs
	grep -hoE '^[A-Za-z0-9._-]+==[^ ;]+' requirements.lock <(grep '^torch==' constraints.txt) > .venv-tools/installed.txt
	$(TOOLS)/pip-audit --strict --disable-pip --no-deps --requirement .venv-tools/installed.txt
