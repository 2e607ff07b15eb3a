PYTHON ?= python3
ARGS ?=
# The address of an index that has CPU builds of PyTorch: smaller by gigabytes, and all that a machine without a GPU uses.
TORCH_INDEX ?=

# What test-frameworks tries, each in a separate environment: FRAMEWORKS='jax' tries one.
FRAMEWORKS ?= tensorflow jax mxnet
MXNET_PYTHON ?= $(PYTHON)

BIN := .venv/bin
RUNTIME := .venv/.runtime-installed
DEV := .venv/.dev-installed
PIP := $(BIN)/python -m pip install --disable-pip-version-check $(if $(CI),--quiet --quiet) \
	--constraint constraints.txt

# An environment that was left half installed, or that was moved (it holds absolute paths), is made again.
STALE := $(shell test ! -e .venv/.installing && test "$$(cat .venv/.folder 2>/dev/null || pwd -P)" = "$$(pwd -P)" || echo yes)

.DELETE_ON_ERROR:
.PHONY: help setup dev train test test-without-bfloat16 test-long test-frameworks $(FRAMEWORKS:%=test-on-%) mxnet lint docs wheel-test bench clean distclean always

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-21s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "ARGS='...' is passed on:                  make train ARGS='--epochs 3'"
	@echo "PYTHON=... names another interpreter:     make setup PYTHON=python3.12"
	@echo "TORCH_INDEX=... adds a package index, such as PyTorch's own for CPU builds (see pytorch.org, Get Started)"

setup: $(RUNTIME) ## install mlpconv with PyTorch into .venv

dev: $(DEV) ## the same, with the tools for tests and checks

train: $(RUNTIME) ## train Network in Network on Fashion-MNIST, in minutes
	$(BIN)/mlpconv train --recipe quick $(ARGS)

# One thread a worker: the workers fill the cores. There is one more than cores, as many tests wait for processes.
WORKERS := $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal
test: $(DEV) ## the quick tests, on all cores; the others: ARGS='-m slow'
	$(PYTEST) -m "not slow and not wheel" $(ARGS)

# The tests whose results depend on the processor's arithmetic, and those that choose a precision.
GOLDEN_TRAINING := tests/golden/test_golden_training.py::test_weights_after_training_in_pytorch_are_unchanged
test-without-bfloat16: $(DEV) ## the tests that depend on the processor, as on one with AVX2 only
	ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(PYTEST) -m "not slow and not wheel" \
		tests/backends/pytorch tests/bench/test_bench_forecast.py::test_forecast tests/cli/test_precision.py \
		tests/faults/test_resuming.py::test_07_resume_in_mid_epoch tests/golden/test_golden_runs.py \
		'$(GOLDEN_TRAINING)[study]' '$(GOLDEN_TRAINING)[fast]' tests/inference tests/runs tests/test_api.py $(ARGS)

test-long: $(DEV) ## the faults at length: 100 kill -9s, 50,000 damaged inputs a reader; ten minutes
	MLPCONV_KILLS=100 MLPCONV_INPUTS=50000 $(PYTEST) tests/faults $(ARGS)

mxnet: .venv-mxnet/.installed ## install mlpconv with MXNet into .venv-mxnet: it needs an older NumPy

test-frameworks: $(FRAMEWORKS:%=test-on-%) ## every network on TensorFlow, JAX and MXNet; -j2 -O runs two at once

# What `make test` leaves out where the framework is not installed.
PAGE := tests/test_docs_code.py::test_the_code_of_a_page_runs
ALSO_tensorflow := tests/backends/keras tests/convert/test_keras_files.py tests/convert/test_keras_order.py '$(PAGE)[how-to/keras.md]'
ALSO_jax := tests/convert/test_keras_files.py tests/convert/test_keras_order.py tests/backends/keras
ALSO_mxnet := '$(PAGE)[how-to/mxnet.md]'

# The weights with which a training ends, as they were recorded.
GOLDEN := tests/golden/test_golden_training.py::test_in_another_framework

# One back end a process, each in its environment; what PyTorch computes, with which all are compared, comes from .venv.
$(FRAMEWORKS:%=test-on-%): test-on-%: $(DEV) .venv-%/.installed
	PYTHONPATH=. KERAS_BACKEND=$* TF_CPP_MIN_LOG_LEVEL=2 OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 \
		.venv-$*/bin/python -m pytest -p no:cacheprovider -q tests/conformance $(ALSO_$*) '$(GOLDEN)[$*]' \
		-m "not slow" --backend $* --torch-python $(BIN)/python $(ARGS)

lint: $(DEV) ## style, types, the direction of imports, and the words of the texts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python tools/wordlist.py

docs: $(DEV) ## the documentation site, into docs/_build/html; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -q -b html -d docs/_build/doctrees docs docs/_build/html
	@echo "open docs/_build/html/index.html"

wheel-test: $(DEV) ## build the package, install it elsewhere, use it
	$(BIN)/pytest -m wheel $(ARGS)

bench: $(RUNTIME) ## the benchmarks, into benchmarks/; one of them: ARGS=NAME
	$(BIN)/mlpconv bench $(ARGS) --out benchmarks

clean: ## remove build output and caches; runs and .venv stay
	rm -rf build dist docs/_build *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find mlpconv tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove .venv too, and the frameworks' own
	rm -rf .venv .venv-*

$(RUNTIME): pyproject.toml constraints.txt $(if $(STALE),always)
	@command -v $(PYTHON) >/dev/null || { \
		echo "mlpconv needs Python 3.11 or later; '$(PYTHON)' was not found" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "mlpconv needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
			"Name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments; on Debian and Ubuntu:" \
			"sudo apt-get install python3-venv" >&2; exit 1; }
	@if test -n "$(STALE)" || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "making .venv"; $(PYTHON) -m venv --clear .venv; fi
	@rm -f $(RUNTIME) $(DEV)
	@touch .venv/.installing
	@pwd -P > .venv/.folder
	$(PIP) pip
	$(PIP) --build-constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[torch,digits]'
	@rm .venv/.installing
	@touch $@

$(DEV): $(RUNTIME)
	@touch .venv/.installing
	$(PIP) --group dev
	@rm .venv/.installing
	@touch $@

# MXNet's NumPy has no builds for Python 3.12 and later: MXNET_PYTHON names an interpreter of 3.11.
.venv-%/.installed: pyproject.toml constraints.txt constraints-mxnet.txt
	@echo "making .venv-$*"
	@$(if $(filter mxnet,$*),$(MXNET_PYTHON),$(PYTHON)) -m venv --clear .venv-$*
	.venv-$*/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt pip
	.venv-$*/bin/python -m pip install --disable-pip-version-check $(if $(CI),--quiet --quiet) \
		--constraint $(if $(filter mxnet,$*),constraints-mxnet.txt,constraints.txt) -e '.[$*]' --group conformance \
		$(if $(filter jax,$*),--group flax)
	@touch $@
