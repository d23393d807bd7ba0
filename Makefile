# Every target makes what it needs: nothing is assumed but Python 3.10+, make and a package index.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# The second environment of the suite: NumPy 1.26 with tflite-runtime, which exists for Python 3.11 at most.
LEGACY        ?= .venv-legacy
LEGACY_PYTHON ?= $(shell for p in $(PYTHON) python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
# The matrices are small: threads of a BLAS that wait for one another cost far more than they save.
export OPENBLAS_NUM_THREADS ?= 1
PYTHONS ?= 3.10 3.11 3.12 3.13
OTHER_PYTHONS = $(filter-out $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'),$(PYTHONS))
PIP_FLAGS := --quiet --disable-pip-version-check
# Tests share nothing, so they run side by side; WORKERS=0 runs them in one process, for a debugger.
WORKERS ?= 2
PYTEST := -m pytest -n $(WORKERS) --dist worksteal
QUICK := -m "not slow" -q

.DEFAULT_GOAL := help
.PHONY: help demo test test-nojit test-legacy test-pythons test-arm test-arm-short test-board test-install test-long deb check fix bench clean

help:
	@echo "make demo    the whole learning job on real images, no hardware (a few minutes)"
	@echo "make test    every test, in three environments"
	@echo "make test-arm    the core suite on emulated ARM, 64 and 32 bits; ARM=armhf for one of them"
	@echo "make test-board  a whole emulated board: push, trial, drift, undo, revert, hard kills"
	@echo "make test-long   random lives of the learner, two million steps: hours; goes on where it was stopped"
	@echo "make test-pythons   the quick suite under every other Python from 3.10 to 3.13 that is found"
	@echo "make test-install   pip and .deb in a clean Debian; ARCH=arm64: root, debootstrap, a mirror"
	@echo "make deb     Debian packages in dist/; BACKEND=litert ARCH=arm64 for an inference library"
	@echo "make check   lint, types, import rules, quick tests"
	@echo "make bench   the benchmarks; PACS rows need DATA_DIR=folder with pacs_128.tar"
	@echo "make clean   remove environments and caches"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	@echo "Setting up $(VENV) (a minute the first time) ..."
	$(BIN)/python -m pip install $(PIP_FLAGS) -e '.[demo]'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -m pip install $(PIP_FLAGS) -e '.[test,litert]'
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/python -m pip install $(PIP_FLAGS) -e '.[dev]'
	@touch $@

$(LEGACY)/.test: pyproject.toml
	@echo "Setting up $(LEGACY) ..."
	$(LEGACY_PYTHON) -m venv $(LEGACY)
	$(LEGACY)/bin/python -m pip install $(PIP_FLAGS) -e '.[test,tflite]'
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/python -m examples.demo

test: test-nojit test-legacy $(VENV)/.test
	$(BIN)/python $(PYTEST)

test-nojit: $(VENV)/.test
	NUMBA_DISABLE_JIT=1 $(BIN)/python $(PYTEST) $(QUICK)

ifeq ($(LEGACY_PYTHON),)
test-legacy:
	@echo "SKIPPED: the suite with NumPy 1.26 and tflite-runtime needs Python 3.10 or 3.11, and none was found."
else
test-legacy: $(LEGACY)/.test
	$(LEGACY)/bin/python $(PYTEST) $(QUICK)
endif

# Boards are made in .cache/arm, of Debian packages and ARM wheels; what cannot be made is skipped aloud.
test-arm: $(VENV)/.test
	$(BIN)/python -m tests.arm $(ARM) --instructions

test-arm-short: $(VENV)/.test
	$(BIN)/python -m tests.arm --short

test-board: $(VENV)/.test
	EDGE_RUNTIME_BOARD=1 $(BIN)/python -m pytest tests/arm/test_machine.py -v -s

# Stops at the first life that breaks and names its seed; .cache/endurance.json says how far it is.
test-long: $(VENV)/.test
	$(BIN)/python -m tests.runtime.endurance

# Each supported Python but the usual one, on the PATH or among pyenv's: an environment and the quick
# suite. Those that are not found are named.
test-pythons:
	@for v in $(OTHER_PYTHONS); do \
	  found=; for p in $$(command -v python$$v) "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$v.*/bin/python; do \
	    if "$$p" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "'$$v'")' 2>/dev/null; then found="$$p"; fi; \
	  done; \
	  if [ -n "$$found" ]; then \
	    echo "== Python $$v: $$found"; \
	    $(MAKE) --no-print-directory PYTHON="$$found" VENV=.venv-$$v .venv-$$v/.test || exit 1; \
	    .venv-$$v/bin/python $(PYTEST) $(QUICK) || exit 1; \
	  else echo "SKIPPED: Python $$v is not here, and no registry of packages brings one."; fi; \
	done

# Of another architecture the clean Debian is emulated: a quarter of an hour the first time.
test-install: $(VENV)/.test
	EDGE_RUNTIME_INSTALL="$(or $(ARCH),amd64 arm64)" $(BIN)/python -m pytest tests/install

deb: $(BIN)/python
	$(BIN)/python -m deploy.deb --out dist $(if $(BACKEND),--backend $(BACKEND) --arch $(or $(ARCH),arm64))

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python $(PYTEST) $(QUICK)

fix: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.demo
	$(BIN)/python -m benchmarks --data-dir "$(or $(DATA_DIR),.cache/data)"

clean:
	rm -rf $(VENV) $(LEGACY) .venv-3.* .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-report
