# `make` lists what there is. Needs make and Python 3.11, 3.12 or 3.13; everything else goes into .venv.

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)
DATA ?= ../shared/data
BIN := .venv/bin
INSTALLED := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help run tapes test test-long lint compile bench docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(INSTALLED)  ## trade a made-up day at the local venue over sockets, no data and no key (CONFIG=... for another run)
	$(BIN)/onetape $(if $(CONFIG),run $(CONFIG),server config/venue.toml -- $(BIN)/onetape run config/alpaca.toml --anew)

tapes: $(INSTALLED)  ## import the market data of the runs in config/ (DATA=folder that holds it)
	@test -d "$(DATA)" || { echo "error: no folder '$(DATA)'; make tapes DATA=the folder with the market data" >&2; exit 2; }
	ONETAPE=$(BIN)/onetape sh config/tapes.sh "$(DATA)" tapes

test: lint  ## lint, types, import laws and the test suite
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-long: $(INSTALLED)  ## the tests that take minutes
	$(BIN)/python -m pytest -q -m long --timeout=3600

lint: $(INSTALLED)  ## style, format, types and import laws
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

compile: $(INSTALLED)  ## the hot path as C, beside the sources in build/compiled (needs a C compiler)
	ONETAPE_COMPILE=1 $(BIN)/python setup.py --quiet build --build-lib build/compiled

bench: compile  ## the measured table, of the compiled engine (BENCH="replay --long", ...)
	PYTHONPATH=$(CURDIR)/build/compiled $(BIN)/python -P $(BIN)/onetape bench $(BENCH)

docs: $(INSTALLED)  ## write the generated pages anew
	$(BIN)/onetape config-reference > docs/configuration.md.new && mv docs/configuration.md.new docs/configuration.md

clean:  ## remove caches and builds; .venv and the journals of runs stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.11, 3.12 or 3.13 with venv is needed; make PYTHON=/path/to/python" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
