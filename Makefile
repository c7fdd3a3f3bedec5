# What CI runs is in these targets; `make help` lists them.

PYTHON ?= python3
WORKERS ?= 2
MINUTES ?= 40
# More arguments for pytest: make test ARGS="-k masking"
ARGS ?=

BIN := .venv/bin
INSTALLED := .venv/.installed
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: help install demo test test-all storm lint clean reference

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*  ## /\1\t/' | expand -t 12

install: $(INSTALLED)  ## create .venv and install the package, its tests' and its checks' tools

# The stamp spares an installation until the requirements change.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,dev]'
	touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' || { \
	  echo "ssast-recipes needs Python 3.11.4 or newer, which '$(PYTHON)' is not:" \
	    "name one with make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv

demo: $(INSTALLED)  ## see what pretraining gains: minutes on two cores, without any data
	$(BIN)/ssast demo

test: $(INSTALLED)  ## run the quick tests and doctests (WORKERS=2 in parallel)
	$(PYTEST) -m "not slow" $(ARGS)

test-all: $(INSTALLED)  ## run the slow tests too
	$(PYTEST) $(ARGS)

storm: $(INSTALLED)  ## kill runs and commands at random moments, for MINUTES=40, and look what is lost
	$(BIN)/python benchmarks/storm.py $(MINUTES)

lint: $(INSTALLED)  ## check style, formatting, YAML, spelling and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/yamllint --strict .
	$(BIN)/codespell
	$(BIN)/lint-imports --no-cache --no-logo

reference: $(if $(CASES),$(INSTALLED))  ## compare with the reference cases in CASES=FILE.json
	@test -n "$(CASES)" || { echo "name the reference cases: make reference CASES=FILE.json" >&2; exit 2; }
	$(BIN)/python -m tests.reference.check $(CASES)

clean:  ## remove .venv, caches and what building left; results stay
	rm -rf .venv build dist ./*.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
