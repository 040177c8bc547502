# Every target works from a fresh clone on a machine with Python 3.11 or later, make and a package index.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
# Real text for the tests that want it; they skip, saying so, where it is absent.
ifneq ($(wildcard ../shared/data),)
export SSL_PDR_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help setup demo curve test lint types format bench fuzz clean

help:  ## Show this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Create .venv and install everything with pinned versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ssl-pdr needs Python 3.11 or later; got $$($(PYTHON) --version). Try: make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[embedded,dev]'
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

fuzz: setup  ## Give the command line more than a thousand bad inputs
	$(BIN)/python -m benchmarks.fuzz --jobs 2

clean:  ## Remove what the other targets made
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache runs
