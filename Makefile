# The only entry points: people and CI call the same targets.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= run,dev,docs
OUT ?= results
# Without bytecode every process that a test starts compiles the whole package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo smollm2 sample test test-fast fetch engines locks test-cluster cluster-demo gpu-check check format bench bench-peers docs sbom manifests goldens clean

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

install: $(VENV)/installed ## Make the environment with what running needs

# Without a network there are no real weights; the stand-ins are built on this machine.
demo: $(VENV)/installed ## Fine-tune and measure a small real model, then the paper's matrix with stand-ins
	$(BIN)/medsweep demo --out $(OUT) $(if $(CI),--require-real)

smollm2: $(VENV)/installed ## Run real weights on real data; give MEDQUAD=FILE where there is no hub
	$(BIN)/medsweep run jobs/sweeps/smollm2-medquad.yaml --out $(OUT) \
		$(if $(MEDQUAD),--set dataset.path=$(MEDQUAD))

sample: $(VENV)/installed ## Make docs/sample-report.html and its picture from RESULTS=FOLDER
	$(BIN)/python docs/sample.py $(RESULTS)

test: $(VENV)/installed-dev fetch ## Run all tests
	$(BIN)/pytest -n 2

test-fast: $(VENV)/installed-dev ## Run the tests that take under a minute in all
	$(BIN)/pytest -n 2 -m "not slow" -q -p no:schemathesis

fetch: $(VENV)/installed-dev ## Fetch helm, kubectl and tokenizers, which some tests need
	$(BIN)/python tests/fetch_tools.py
	$(BIN)/python tests/fetch_tokenizers.py

engines: $(VENV)/installed ## Install vLLM for processors in an environment of its own, which some tests need
	$(BIN)/medsweep engines install vllm --cpu

locks: $(VENV)/installed-dev ## Write the locks of the engines' environments anew
	$(BIN)/pip install --quiet uv
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/lock_engines.py

test-cluster: $(VENV)/installed-dev ## Run the cluster's tests against the API server of KUBECONFIG
	MEDSWEEP_TEST_CLUSTER=1 $(BIN)/pytest tests/cluster -k real

cluster-demo: $(VENV)/installed ## Run a sweep on a cluster of this machine: needs docker, kubectl, helm, and kind or k3d
	$(BIN)/pip install --quiet --editable '.[run,k8s]'
	MEDSWEEP=$(BIN)/medsweep OUT=$(OUT) k8s/demo/demo.sh

check: $(VENV)/installed-dev ## Lint, format check, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python docs/reference.py --check

format: $(VENV)/installed-dev ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

gpu-check: $(VENV)/installed-dev ## Run the check of everything that needs a GPU, on the first GPU
	PYTHONPATH=platform:tests $(BIN)/python -m gpu --out $(OUT)/gpu-check

bench: $(VENV)/installed-dev ## Run the benchmarks; they print ratios and assert nothing
	$(BIN)/python -m pytest tests/benchmarks --override-ini python_files='bench_*.py' -q -s

bench-peers: $(VENV)/installed-dev ## Measure the load generator beside aiperf and guidellm
	$(BIN)/python tests/benchmarks/bench_peers.py

docs: $(VENV)/installed-dev ## Write the generated reference pages and build the site
	$(BIN)/python docs/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# The tool has an environment of its own, so that it is not among what it lists.
sbom: $(VENV)/installed ## Write the CycloneDX SBOM of the environment
	$(PYTHON) -m venv build/sbom
	build/sbom/bin/pip install --quiet cyclonedx-bom==7.5.0
	build/sbom/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml \
		--output-reproducible --output-format JSON --output-file build/sbom.cdx.json

manifests: $(VENV)/installed-dev ## Write the generated samples, chart profiles, dashboards and rules
	$(BIN)/python k8s/generate.py

goldens: $(VENV)/installed-dev ## Write the goldens of tests/golden anew
	$(BIN)/python tests/goldens.py

clean: ## Remove the environment and build leavings, not the results
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache platform/*.egg-info

# torch first and pinned: left to itself pip may take another build of several gigabytes.
$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "MedSweep needs Python 3.11 or newer with venv; found $$(command -v $(PYTHON) >/dev/null && $(PYTHON) --version 2>&1 || echo "no $(PYTHON)")." >&2; \
		echo "Install it (on Debian or Ubuntu also python3-venv), or name another: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[run]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --editable '.[$(EXTRAS)]'
	@touch $@
