# make demo, make test: everything from a fresh clone, with Python 3.11 or newer and its pip. `make help` lists more.
PYTHON ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
ENVIRONMENT := $(VENV)/.packages-installed
PROJECT     := $(VENV)/.project-installed
OLIVE_VENV  ?= .venv-olive
OLIVE_BIN   := $(OLIVE_VENV)/bin
TORCH  := $(shell grep '^torch==' constraints/cpu.txt)
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
OLIVE_PIP := $(OLIVE_BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test test-olive lint clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 18

demo: $(PROJECT) ## compress a shipped teacher, print the table, write demo-out/
	$(BIN)/cake-onnx compress fixtures/digits_cnn.onnx --eval fixtures/digits_unit_test.npz \
	  --input-range 0,1 --budget small -o demo-out --overwrite

test: lint ## lint, types, floors, then all tests with coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --cov --cov-report=term

test-olive: $(OLIVE_VENV)/.project-installed ## tests of the Olive plugin, in an environment of their own
	CI=1 OMP_NUM_THREADS=1 $(OLIVE_BIN)/python -m pytest -n 2 plugins/olive/tests

lint: $(PROJECT) ## ruff, mypy, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

clean: ## remove the environment, caches and demo-out/
	rm -rf $(VENV) $(OLIVE_VENV) demo-out build *.egg-info .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache \
	  .pytest_cache .ruff_cache

# torch comes first and alone may bring what its build needs; everything else is pinned and complete (no torchvision).
$(ENVIRONMENT): constraints/cpu.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version 2>&1). Set PYTHON=/path/to/python3.11." >&2; exit 1; }
	@echo 'Making $(VENV): about a minute, 1 GB of packages ...'
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) --constraint constraints/cpu.txt $(TORCH)
	$(PIP) --no-deps --requirement constraints/cpu.txt
	@touch $@

$(PROJECT): $(ENVIRONMENT) pyproject.toml
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(OLIVE_VENV)/.packages-installed: constraints/olive.txt
	@echo 'Making $(OLIVE_VENV): about a minute, 1.5 GB of packages ...'
	$(PYTHON) -m venv --clear $(OLIVE_VENV)
	$(OLIVE_PIP) --constraint constraints/olive.txt $(TORCH)
	$(OLIVE_PIP) --no-deps --requirement constraints/olive.txt
	@touch $@

$(OLIVE_VENV)/.project-installed: $(OLIVE_VENV)/.packages-installed pyproject.toml plugins/olive/pyproject.toml
	$(OLIVE_PIP) --no-deps --no-build-isolation --editable . --editable plugins/olive
	@touch $@
