# make serve: a server with two sample slides. make test: the proof. Both install what is missing and can be run again.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
# A file's tests stay together, and files are spread over the processors.
PYTEST := $(BIN)/python -m pytest -q -n auto --dist loadfile -p no:benchmark
PIP := $(BIN)/pip --disable-pip-version-check

# npm knows its own certificates only; this adds the machine's, which a company's proxy needs.
export NODE_EXTRA_CA_CERTS ?= $(wildcard /etc/ssl/certs/ca-certificates.crt)

.PHONY: help serve test soak bench build clean

help:
	@echo "make serve   install what is missing, write two sample slides, serve them at http://$(HOST):$(PORT)/"
	@echo "make test    install what is missing, run every test"
	@echo "make soak    the same tests with larger counts, and the long ones"
	@echo "make bench   speed and memory, side by side with nginx, iipsrv and find"

$(VENV)/.serve: pyproject.toml setup.py deploy/system-packages.sh
	@echo "== system packages"
	@PYTHON=$(PYTHON) deploy/system-packages.sh serve
	@echo "== virtual environment in $(VENV)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(PIP) install -q --upgrade pip
	@echo "== ptiffserve and its compiled modules (a minute or two)"
	@$(PIP) install -q --progress-bar on -e '.[build]'
	@touch $@

$(VENV)/.test: $(VENV)/.serve
	@PYTHON=$(PYTHON) deploy/system-packages.sh test
	@echo "== what the tests need"
	@$(PIP) install -q --progress-bar on -e '.[build,test]'
	@touch $@

# Cheap when nothing changed; an edited .pyx, .pxi, .h or .c is compiled anew.
build: $(VENV)/.serve
	@$(BIN)/python setup.py -q build_ext --inplace

samples/biopsy.tiff: | build
	@mkdir -p samples
	@echo "== sample slides"
	@$(BIN)/ptiffserve sample $@ --width 24000 --height 16000 --seed 7

samples/resection.tiff: | build
	@mkdir -p samples
	@$(BIN)/ptiffserve sample $@ --width 100000 --height 80000 --barcode S26-004711

serve: build samples/biopsy.tiff samples/resection.tiff
	@$(BIN)/ptiffserve serve samples --host $(HOST) --port $(PORT)

test: build $(VENV)/.test
	@echo "== on a build with AddressSanitizer and UndefinedBehaviorSanitizer"
	@tests/run_debug.sh
	@echo "== on the build that is served"
	@$(PYTEST) $(TESTS)

soak: build $(VENV)/.test
	@tests/run_debug.sh whole
	@PTIFFSERVE_SOAK=1 $(PYTEST) $(TESTS)

bench: build $(VENV)/.test
	@PYTHON=$(PYTHON) deploy/system-packages.sh bench
	@$(BIN)/python -m pytest bench -q
	@$(BIN)/python bench/load.py
	@$(BIN)/python bench/regions.py
	@$(BIN)/python bench/sync.py

clean:
	rm -rf build dist *.egg-info ptiffserve/*.so ext/*/_*.c ptiffserve/viewer/vendor .ruff_cache .mypy_cache .hypothesis
