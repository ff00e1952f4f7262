# Everything runs in an environment of the checkout's own. The first `make` of any kind builds
# it; later ones use it as it stands, until setup.py, pyproject.toml or the constraints change.

PYTHON ?= python3
VENV ?= .venv

# the Python of test-classic and test-editable: 3.9 or 3.10
CLASSIC ?= python3.10
# a fairseq checkout of your own, for test-editable
FAIRSEQ ?=
# of test-crash, and of fuzz
KILLS ?= 50
SECONDS ?= 600
# a fairseq git tree with fairseq's own tests, for test-fairseq
TREE ?=

BIN := $(VENV)/bin
STACK := $(if $(FAIRSEQ),editable,$(shell $(PYTHON) -c 'import sys; print("modern" if sys.version_info >= (3, 11) else "classic")'))
CONSTRAINTS := constraints/$(STACK).txt
INSTALLED := $(VENV)/.installed
PIP_INSTALL := PIP_CONSTRAINT=$(CONSTRAINTS) $(BIN)/python -m pip install
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: help install demo test test-unit test-classic test-editable test-fairseq test-crash test-gpu fuzz lint clean

help:
	@echo "make install        the environment in $(VENV), with everything in it"
	@echo "make demo           lottery tickets against random masks, in minutes"
	@echo "make test           all tests: units first, then those that start fairseq"
	@echo "make test-unit      the units alone"
	@echo "make test-classic   all tests under Python 3.10 and official fairseq 0.12.2"
	@echo "make test-editable FAIRSEQ=PATH  all tests on a fairseq checkout of yours"
	@echo "make test-fairseq TREE=PATH      fairseq's own tests, without and with this plugin"
	@echo "make test-crash     trainings killed at random and resumed, KILLS of them (50)"
	@echo "make test-gpu       the tests that need a GPU; an error where there is none"
	@echo "make fuzz           tickets, snapshots, compact files changed at random, SECONDS (600)"
	@echo "make lint           ruff and mypy"
	@echo "make clean          remove build leftovers and caches"

install: $(INSTALLED)

# fairseq has to be compiled. fairseq-fixed needs torch for that: torch comes first and is used
# as it stands, where an isolated build would fetch a second one. The official release compiles
# only out of torch's sight (its archive lacks the sources that it would then want): in isolation.
# A checkout is compiled in place, and no extra of ours may put another fairseq over it.
PACKAGES_modern := --no-build-isolation --editable ".[demo,analysis,ctranslate2,test]"
PACKAGES_classic := --editable ".[demo,analysis,test]"
PACKAGES_editable := --no-build-isolation --editable $(FAIRSEQ) \
    --editable ".[torch,workflow,report,analysis,sparse,test]" sacrebleu sentencepiece

$(INSTALLED): setup.py pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) pip
	$(PIP_INSTALL) setuptools wheel cython numpy torch
	$(PIP_INSTALL) $(PACKAGES_$(STACK))
	@touch $@

demo: install
	$(BIN)/fairseq-lottery demo

test: install
	$(PYTEST)

test-unit: install
	$(PYTEST) -m "not slow"

# Each in an environment of its own. Tickets that are drawn on one stack are trained on the
# other where `make install` has been run before.
test-classic:
	LOTTERY_OTHER_STACK=$(wildcard $(abspath $(BIN)/python)) \
	    $(MAKE) test PYTHON=$(CLASSIC) VENV=.venv-classic

test-editable:
	$(if $(FAIRSEQ),,$(error give the checkout: make test-editable FAIRSEQ=PATH))
	LOTTERY_OTHER_STACK=$(wildcard $(abspath $(BIN)/python)) \
	    $(MAKE) test PYTHON=$(CLASSIC) VENV=.venv-editable FAIRSEQ=$(abspath $(FAIRSEQ))

test-fairseq: install
	$(if $(TREE),,$(error give the git tree: make test-fairseq TREE=PATH))
	$(BIN)/python tests/outside/fairseq_tests.py $(TREE)

test-crash: install
	LOTTERY_KILLS=$(KILLS) $(PYTEST) tests/crash

# Skipped tests would end with success.
test-gpu: install
	@$(BIN)/python -c "import sys, torch; torch.cuda.is_available() or \
	    sys.exit('there is no CUDA device here: no test that needs one was run')"
	$(PYTEST) -m cuda

fuzz: install
	$(BIN)/python tests/hostile/fuzz.py --seconds $(SECONDS)

lint: install
	$(BIN)/ruff check
	$(BIN)/mypy

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
