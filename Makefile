# make book | test | stress | bench | notebooks | archive | links | clean      Everything runs in .venv, which is set up when it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# These come last: they show verdicts of the others.
READERS := book/introduction.ipynb book/conclusion.ipynb
NOTEBOOKS = $(filter-out $(READERS),$(wildcard book/*.ipynb)) $(READERS)

# One thread a process: the nets are small, and the tests run in as many processes as there are cores.
export OMP_NUM_THREADS ?= 1

.PHONY: book test stress bench notebooks figures archive links clean

book: $(READY)
	$(BIN)/jupyter-book build book --config _config.yml --path-output . -W -n --keep-going --all
	@echo "Open _build/html/index.html"

test: $(READY)
	$(BIN)/ruff check
	$(BIN)/pytest -n auto

stress: $(READY)
	$(BIN)/pytest -m stress tests

# The first seven write the tables of the book's page on costs.
bench: $(READY)
	$(BIN)/python benchmarks/cost.py --write
	$(BIN)/python benchmarks/solver.py --write
	$(BIN)/python benchmarks/precision.py --write
	$(BIN)/python benchmarks/felt.py --write
	$(BIN)/python benchmarks/switching.py --write
	$(BIN)/python benchmarks/ntk.py --write
	$(BIN)/python benchmarks/flow.py --write
	$(BIN)/python benchmarks/jamming.py --write
	$(BIN)/python benchmarks/accuracy.py --data digits

# Executes the committed notebooks again, in place, which also writes figures/; then the table of README.md.
notebooks figures: $(READY)
	$(BIN)/python book/_ext/execute.py $(NOTEBOOKS)
	$(BIN)/python book/_ext/overview.py

# All kept results in one file, dist/lazyjam-records-VERSION.zip, for a release.
archive: $(READY)
	$(BIN)/python book/_ext/archive.py

# Asks every link of the book, which takes a network.
links: $(READY)
	$(BIN)/jupyter-book build book --config _config.yml --path-output . --builder linkcheck

# The mark is written last, so that an installation that was interrupted is taken up again.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit(f"lazyjam needs Python 3.11 or newer, got {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -c constraints.txt -e '.[all]'
	touch $@

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis
