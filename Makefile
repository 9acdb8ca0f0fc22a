# `make demo`, `make test` and `make wheels` set up .venv by themselves; PYTHON chooses the interpreter (3.10 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs wheels

demo: $(VENV)/installed
	$(BIN)/scae demo

# a process a core, each with one thread: threads of several processes would wait for each other
test: $(VENV)/installed lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

# the documents as a site, in site/: it is read without a network, too
docs: $(VENV)/documents
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# all that a release publishes: scae_zoo, and the weights that its wheel leaves out
wheels: $(VENV)/installed
	rm -rf dist
	$(BIN)/python release/wheels.py dist

# the stamp is made last, so that an install that broke off is done again
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/documents: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@
