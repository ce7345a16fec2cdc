# Two commands: `make demo` and `make test`. Everything lives in this folder; `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

BIN := .venv/bin
CURATE := $(BIN)/curate
ACCEPT_TOOL := ../shared/tools/accept_msd.py
TORCH := torch==2.13.0
COMPILE := pip compile --universal --generate-hashes --no-annotate --no-header --python-version 3.11 --quiet

# The first interpreter that runs and is new enough. A name on the path may be a shim that runs nothing.
define FIND_PYTHON
for name in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
  if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$name; exit 0; fi; \
done; echo "make: no Python 3.11 or later on the path; name one with PYTHON=/path/to/python3" >&2; exit 1
endef
define FIND_UV
command -v uv || { test -x $(BIN)/uv && echo $(BIN)/uv; } || { echo "make: uv is needed to lock versions" >&2; exit 1; }
endef

.PHONY: help install demo test test-fast check format accept accept-venv cite-venv lock golden rebuild-313 bench docs picture screenshot clean

help: ## say what can be made
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 14

install: .venv/.installed ## .venv with the pinned versions and the command .venv/bin/curate

.venv/.installed: pyproject.toml constraints.txt
	@python=$$($(FIND_PYTHON)); echo "Installing into .venv with $$($$python --version) (about a minute, once) ..."; \
	$$python -m venv .venv || { echo "make: this Python cannot make a venv (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r constraints.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@; echo "Installed: .venv/bin/curate"

demo: install ## phantom DICOM of all ten tasks -> release, audited, under demo/
	@test -d demo/source || $(CURATE) demo demo
	@test -f demo/workspace/curate.yaml || { rm -rf demo/workspace; $(CURATE) init demo/workspace --key demo/truth/demo.key; }
	@$(CURATE) release demo/source -w demo/workspace -r demo/release
	@echo; echo "The release is in demo/release:"; ls -l demo/release/*.tar | awk '{print "  " $$NF "  " $$5 " bytes"}'

test: install ## every test
	@$(BIN)/python -m pytest -n auto --dist loadfile

test-fast: install ## the tests that take no more than a few seconds each
	@$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

check: install ## format, lint, types, and who may import whom
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache --no-logo

format: install ## let ruff lay out and mend the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# MONAI and nnU-Net, with their own torch, apart from ours. Everything is pinned by hash but torch: its builds for
# CPU and CUDA share a version and differ in hash. It comes last and by version, so nothing else chooses a torch.
accept-venv: .venv-accept/.installed ## .venv-accept with the consumers that a release must work for

.venv-accept/.installed: constraints-accept.txt
	@python=$$($(FIND_PYTHON)); echo "Installing MONAI and nnU-Net into .venv-accept (some minutes, once) ..."; \
	$$python -m venv .venv-accept
	@.venv-accept/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r constraints-accept.txt
	@.venv-accept/bin/python -m pip install -qq --disable-pip-version-check --no-warn-conflicts $(TORCH)
	@touch $@; echo "Installed: .venv-accept"

# Reads CITATION.cff; wants an older jsonschema and ruamel.yaml than we have, so it lives apart.
cite-venv: .venv-cite/.installed ## .venv-cite with cffconvert

.venv-cite/.installed: constraints-cite.txt
	@python=$$($(FIND_PYTHON)); $$python -m venv .venv-cite
	@.venv-cite/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r constraints-cite.txt
	@touch $@; echo "Installed: .venv-cite"

accept: demo accept-venv ## do MONAI, nnU-Net and SimpleITK take the demo's TARs?
	@test -f $(ACCEPT_TOOL) || { echo "make: $(ACCEPT_TOOL) is not there" >&2; exit 1; }
	@for tar in demo/release/*.tar; do .venv-accept/bin/python $(ACCEPT_TOOL) $$tar; done

lock: ## pin anew: constraints.txt, constraints-accept.txt, constraints-cite.txt
	@uv=$$($(FIND_UV)); \
	$$uv $(COMPILE) pyproject.toml --extra dev --extra cluster --extra export --extra ocr --extra deface -o constraints.txt; \
	$$uv $(COMPILE) .ci/cite.in -o constraints-cite.txt; \
	$$uv $(COMPILE) .ci/second-opinion.in -o .ci/second-opinion.txt; \
	$$uv $(COMPILE) .ci/accept.in --excludes .ci/accept.without -o constraints-accept.txt

# From nothing, because a store or sources that stand would hide what code makes now.
golden: install ## manifests/golden anew from a fresh demo; its changes belong into the review
	@rm -rf demo && $(MAKE) demo >/dev/null
	@rm -f manifests/golden/* && cp demo/release/*.manifest.jsonl demo/release/SHA256SUMS manifests/golden/
	@git diff --stat -- manifests/golden || true

rebuild-313: install ## the demo release made again on Python 3.13, with one and two workers
	@$(BIN)/python benchmarks/rebuild_elsewhere.py $(ARGS)

bench: install ## what measures speed, scale and leaks
	@scripts=$$(find benchmarks -name 'bench*.py' | sort); test -n "$$scripts" || echo "There is no benchmark yet."; \
	for script in $$scripts; do echo "== $$script"; $(BIN)/python $$script; done

docs: install ## the pages that are made from the code
	@$(BIN)/python docs/make_refusals.py > docs/refusals.md

picture: demo ## docs/demo.png from the demo release
	@$(BIN)/python docs/make_picture.py demo/release docs/demo.png

screenshot: demo ## docs/review.png, the review page of the demo; needs chromium and chromedriver
	@$(CURATE) review -w demo/workspace -t Task07_Pancreas
	@$(BIN)/python docs/make_screenshot.py demo/workspace/review/Task07_Pancreas/index.html docs/review.png c

clean: ## take away what was made, but not .venv
	@rm -rf demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build
