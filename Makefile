# make demo: sets up .venv and repairs two bundled photos, see demo/
# make test: sets up .venv and runs the tests but for the slowest
# make test-all: runs those too
# make docs: builds the documentation, site/index.html
PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
# Extra options for pip, a mirror for example.
PIP_OPTIONS ?=
# Tests run in this many processes, each of which computes on one core but waits now and then.
JOBS ?= 3

export TF_CPP_MIN_LOG_LEVEL ?= 2
# Material's announcement of the end of its life.
export NO_MKDOCS_2_WARNING ?= 1

PYTEST := TF_NUM_INTRAOP_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
# A browser without a GPU draws too slowly for its visitors where other tests take the time.
PYTEST_BROWSER := $(BIN)/python -m pytest

.PHONY: demo docs test test-all lint clean

demo: $(VENV)/installed
	$(BIN)/python docs/demo/demo.py demo

test: $(VENV)/installed
	$(PYTEST) -m "not slow and not browser"
	$(PYTEST_BROWSER) -m "browser and not slow"

test-all: $(VENV)/installed
	$(PYTEST) -m "not browser"
	$(PYTEST_BROWSER) -m browser

docs: $(VENV)/installed
	$(BIN)/python -m mkdocs build --strict

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/installed: setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_OPTIONS) --quiet --upgrade pip setuptools wheel
	$(BIN)/python -m pip install $(PIP_OPTIONS) --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info demo site
