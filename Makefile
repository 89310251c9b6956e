# Every target sets up what it needs in a virtual environment of its own, .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FAST := tests/test_house.py tests/test_trace.py tests/test_model.py tests/transformer tests/text/tokenizer \
	tests/model_file/test_architecture_json.py tests/generation/test_sampling.py tests/generation/test_text.py \
	tests/training/test_recipe.py tests/training/test_optimizer.py
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo format lint test test-fast test-slow test-sanitized test-arm examples docs docs-serve hooks clean
.DEFAULT_GOAL := help

$(BIN)/openbook: pyproject.toml constraints.txt hatch_build.py $(shell find native -type f)
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[serve]'
	@touch $@

$(VENV)/test-tools: $(BIN)/openbook
	$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/docs-tools: $(BIN)/openbook
	$(PIP) --editable '.[docs]'
	@touch $@

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(BIN)/openbook  ## train on Python's language reference, ask the model, look inside (2 minutes)
	@PATH="$(abspath $(BIN)):$$PATH" sh demo.sh

format: $(VENV)/test-tools  ## format the code and fix what ruff can fix
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lint: $(VENV)/test-tools  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-fast: $(VENV)/test-tools  ## the tests to run after each edit (under a minute)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(FAST)

test: lint  ## style, types and all quick tests; what continuous integration runs
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-slow: $(VENV)/test-tools  ## tests that take minutes, or need data that is not in the repository
	$(BIN)/python -m pytest -m slow

test-sanitized: $(VENV)/test-tools  ## the native engine under AddressSanitizer and UndefinedBehaviorSanitizer (minutes)
	$(BIN)/python -m pytest -m slow tests/generation/engines/test_sanitized.py

test-arm:  ## the engine's Arm kernels, cross-compiled and emulated (needs g++-aarch64-linux-gnu and qemu-user)
	cmake -S native -B build/arm -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
		-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DOPENBOOK_TESTS=ON
	cmake --build build/arm --target openbook_kernels_test
	qemu-aarch64 -L /usr/aarch64-linux-gnu build/arm/openbook_kernels_test

examples: $(BIN)/openbook  ## build the worked examples as pages, in docs/examples/
	$(BIN)/python docs/examples/build.py

docs: $(VENV)/docs-tools examples  ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-serve: $(VENV)/docs-tools examples  ## serve the documentation at http://127.0.0.1:8000 and rebuild it on each change
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

hooks: $(VENV)/test-tools  ## run the checks of .pre-commit-config.yaml on every commit
	$(PIP) --editable '.[dev]'
	$(BIN)/pre-commit install

clean:  ## remove everything that make made
	rm -rf $(VENV) build demo site .mypy_cache .pytest_cache .ruff_cache .hypothesis
