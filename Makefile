# What CI runs is in these targets; `make help` lists them.

PYTHON ?= python3
WORKERS ?= 2
MINUTES ?= 40
PORT ?= 8000
# What `make dist` tests: parts, weights and records, and that all documents and names are there.
APART ?= tests/model tests/weights tests/records tests/test_documents.py tests/test_rooms.py
# More arguments for pytest: make test ARGS="-k masking"
ARGS ?=

BIN := .venv/bin
INSTALLED := .venv/.installed
SITE_TOOLS := .venv/.site_tools
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: help install demo test test-all storm lint docs docs-serve dist clean reference

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

docs: $(SITE_TOOLS)  ## build the site, build/docs/html; a warning is an error
	rm -rf build/docs
	$(BIN)/python -m sphinx -W --keep-going -q -c docs/site -d build/docs/doctrees . build/docs/html
	@echo "the site is in build/docs/html"

docs-serve: docs  ## show the site on this machine (PORT=8000)
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/docs/html $(PORT)

# The tests are those of the sdist; the package that they import is the wheel's.
dist: $(INSTALLED)  ## build what is published into dist, and try it apart from this tree
	rm -rf dist build/apart
	$(BIN)/python -m pip install --quiet --constraint constraints.txt 'build>=1.2' 'twine>=6'
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	mkdir -p build/apart
	tar -xzf dist/*.tar.gz --directory build/apart --strip-components 1
	rm -r build/apart/ssast_recipes
	$(BIN)/python -m pip install --quiet --no-deps --target build/apart dist/*.whl
	cd build/apart && PYTHONPATH=$(CURDIR)/build/apart $(CURDIR)/$(PYTEST) -m "not slow" $(APART)

# Apart from `make install`: whoever builds no site need not have its tools.
$(SITE_TOOLS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

reference: $(if $(CASES),$(INSTALLED))  ## compare with the reference cases in CASES=FILE.json
	@test -n "$(CASES)" || { echo "name the reference cases: make reference CASES=FILE.json" >&2; exit 2; }
	$(BIN)/python -m tests.reference.check $(CASES)

clean:  ## remove .venv, caches and what building left; results stay
	rm -rf .venv build dist docs/reference ./*.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
