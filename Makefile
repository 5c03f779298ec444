# Every target sets up what it needs and is safe to repeat or interrupt.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# FAISS comes as a CPU and a GPU build that exclude each other; an NVIDIA driver decides.
DEVICE ?= $(if $(shell command -v nvidia-smi),gpu,cpu)
DEMO_DIR ?= demo
STARTED := $(shell date +%s)
SOURCES := schemas crawler indexer search tests bench toonsearch.py
DRAWINGS ?= ../shared/drawings
FIELD ?= ../shared/field
HANDS ?= $(HOME)/.cache/toonsearch/hands
MINUTES ?= 20
# What running needs, in every lock file beside the extra that the file is named after.
EXTRAS := --extra crawl --extra web --extra report

# Many tests wait for other processes: one more worker than cores.
WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))

.PHONY: answers clipart help env test-env train-env milvus-env ray-env storage-env demo test faults fuzz field hands check format bench gpu-check figures picture sheet docs model card lock clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp is written last, so that an interrupted set-up starts over.
$(VENV)/.ready-%: requirements/%.txt requirements/setup.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { echo "make: 'python3 -m venv' failed: on Debian, apt install python3-venv" >&2; exit 2; }
	@echo "Installing pinned packages ($*) into $(VENV) ..." >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/setup.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/$*.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --config-setting editable_mode=compat --editable .
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q schemas crawler indexer search
	@touch $@

env: $(VENV)/.ready-$(DEVICE) ## Create .venv with the pinned packages

test-env: env $(VENV)/.ready-test ## Add linters and test tools

train-env: env $(VENV)/.ready-train ## Add torch and timm (large)

# Its faiss-cpu overwrites faiss-gpu where that is installed.
milvus-env: test-env $(VENV)/.ready-milvus-lite ## Add pymilvus and milvus-lite, which tests of Milvus need

ray-env: test-env $(VENV)/.ready-ray ## Add Ray, which tests of embedding on a cluster need (large)

storage-env: test-env $(VENV)/.ready-s3-test ## Add obstore and moto, which tests of object storage need

# The packages and the clip art are fetched side by side: the one waits for the network while the
# other unpacks.
demo: ## Real drawings, a real index, real answers: table and HTML gallery
	@$(MAKE) --no-print-directory -j2 env clipart
	@$(BIN)/toonsearch demo --to $(DEMO_DIR) --waited $$(($$(date +%s) - $(STARTED)))

# Any trouble is told by the demo, which tries again.
clipart:
	@PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m crawler.demo.debian $(DEMO_DIR)/clipart 2>/dev/null || true

test: test-env ## Run all tests (those of training need `make train-env` first)
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

faults: test-env ## Kill, cut the power and fail at every call, and at KILLS random moments (3000)
	@TOONSEARCH_FAULTS=full TOONSEARCH_KILLS=$(or $(KILLS),3000) $(BIN)/python -m pytest -q -s tests/faults tests/search/sql/test_sandbox.py

fuzz: test-env ## Try odd pictures, manifests, folders and answers for MINUTES (20)
	@$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

field: env ## Run what users met, FIELD=folder with check.py, on the installed command (ONLY=NAMES: some of it)
	@test -f $(FIELD)/check.py || { echo "make field: there is no $(FIELD)/check.py; name its folder with FIELD=..." >&2; exit 2; }
	@$(BIN)/python $(FIELD)/check.py --toonsearch $(BIN)/toonsearch $(if $(ONLY),--only $(ONLY))

check: test-env ## Format, lint, types and fast tests
	@$(BIN)/ruff format --check --quiet $(SOURCES) || { echo "make check: run make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -x -n $(WORKERS) --dist loadfile -m "not slow"

format: test-env ## Format the code
	@$(BIN)/ruff format --quiet $(SOURCES)
	@$(BIN)/ruff check --quiet --fix $(SOURCES)

bench: train-env test-env ## Measure speed, memory and size into bench/results/*.json (ONLY=query: one part; peers: others on the same vectors)
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) || test $$? -eq 4  # 4: a target was missed

gpu-check: ## Search and encode on a GPU within 8 minutes, into bench/results/gpu.json; installs nothing
	@$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m bench.gpu

figures: ## Write what was measured into docs/benchmarks.md
	@$(BIN)/python -m bench.write_docs benchmarks

picture: test-env demo ## Renew the README's pictures (needs chromium)
	@$(BIN)/python -m bench.picture $(DEMO_DIR) docs

sheet: demo ## Show 24 queries with what was found first on one sheet (DRAWINGS=folder: half from books)
	@$(BIN)/python -m bench.sheet $(DEMO_DIR) $(DEMO_DIR)/sheet.png $(if $(filter command line environment,$(origin DRAWINGS)),--drawings $(DRAWINGS))

docs: env ## Renew docs/commands.md from --help and docs/settings.md from the settings
	@$(BIN)/python -m search.cli.reference > docs/commands.md
	@$(BIN)/python -m bench.write_docs settings

answers: demo ## Renew docs/sql.md: questions to the demo's catalog
	@$(BIN)/toonsearch --data $(DEMO_DIR)/data colors -q && $(BIN)/toonsearch --data $(DEMO_DIR)/data judge -q
	@$(BIN)/python -m bench.answers $(DEMO_DIR)/data > docs/sql.md

hands: train-env ## Draw emoji, icons, figures and clip art of free packages to train on, into HANDS=folder
	@$(BIN)/python -m crawler.hands --out $(HANDS) || test $$? -eq 4  # 4: a source could not be had

model: train-env hands ## Train the shipped encoder from DRAWINGS=folder and HANDS=folder; resumes
	@$(BIN)/python -m indexer.training.export --drawings $(DRAWINGS) --hands $(HANDS) --out indexer/models

card: train-env ## Measure accuracy on DRAWINGS=folder into docs (MODEL, CONTENT, CLIPART, VGG, BASELINES=all)
	@$(BIN)/python -m indexer.training.evaluation.report --drawings $(DRAWINGS) \
	  $(if $(MODEL),--model $(MODEL)) $(if $(CONTENT),--content $(CONTENT)) $(if $(CLIPART),--clipart $(CLIPART)) \
	  $(if $(VGG),--vgg $(VGG)) $(if $(BASELINES),--baselines $(BASELINES))

lock: ## Renew requirements/*.txt from pyproject.toml
	@for name in cpu gpu train test milvus-lite ray s3-test; do \
	  $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate pyproject.toml $(EXTRAS) --extra $$name -o requirements/$$name.txt || exit 1; \
	done
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate requirements/setup.in -o requirements/setup.txt

clean: ## Remove the environment and the demo
	rm -rf $(VENV) $(DEMO_DIR) build *.egg-info
