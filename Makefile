# Everything runs in an environment of the checkout's own. The first `make` of any kind builds
# it; later ones use it as it stands, until setup.py, pyproject.toml or the constraints change.

PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
STACK := $(shell $(PYTHON) -c 'import sys; print("modern" if sys.version_info >= (3, 11) else "classic")')
CONSTRAINTS := constraints/$(STACK).txt
INSTALLED := $(VENV)/.installed
PIP_INSTALL := PIP_CONSTRAINT=$(CONSTRAINTS) $(BIN)/python -m pip install
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

.PHONY: help install demo test test-unit lint clean

help:
	@echo "make install    the environment in $(VENV), with everything in it"
	@echo "make demo       lottery tickets against random masks, in minutes"
	@echo "make test       all tests: units first, then those that start fairseq"
	@echo "make test-unit  the units alone"
	@echo "make lint       ruff and mypy"
	@echo "make clean      remove build leftovers and caches"

install: $(INSTALLED)

# fairseq has to be compiled. fairseq-fixed needs torch for that: torch comes first and is used
# as it stands, where an isolated build would fetch a second one. The official release compiles
# only out of torch's sight (its archive lacks the sources that it would then want): in isolation.
BUILD_modern := --no-build-isolation
BUILD_classic :=

$(INSTALLED): setup.py pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) pip
	$(PIP_INSTALL) setuptools wheel cython numpy torch
	$(PIP_INSTALL) $(BUILD_$(STACK)) --editable ".[demo,test]"
	@touch $@

demo: install
	$(BIN)/fairseq-lottery demo

test: install
	$(PYTEST)

test-unit: install
	$(PYTEST) -m "not slow"

lint: install
	$(BIN)/ruff check
	$(BIN)/mypy

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
