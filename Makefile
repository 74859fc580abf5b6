# make test: run the tests.  make demo: find what changed between two simulated images.
# make docs: the user guide as HTML, docs/_build/html/index.html.
# make lint: check the style.  make clean: remove what the others made.
# Needs only git, make and Python 3.11 or later (PYTHON=... chooses another one).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test docs lint clean

test: $(STAMP)
	$(BIN)/python -m pytest -q

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(STAMP)
	$(BIN)/python -m sphinx -q -W --keep-going -n -b html docs docs/_build/html

demo: $(STAMP)
	$(BIN)/psfmatch demo demo --overwrite
	$(BIN)/psfmatch subtract demo/template.fits demo/science.fits -o demo/diff.fits --overwrite
	$(BIN)/psfmatch detect demo/diff.fits -o demo/found.ecsv --overwrite
	$(BIN)/python examples/compare_with_truth.py demo/found.ecsv demo/truth.ecsv

# The stamp is written last, so that an interrupted installation is done again.
$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) demo build docs/_build *.egg-info .pytest_cache .ruff_cache .hypothesis
