# `make demo`: the weights of a network trained in PyTorch, in Keras and in Flax.
# `make test`: everything that must hold. `make verify`: every case in every runtime.
# `make benchmarks`: speed beside the peers, written to benchmarks/README.md.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint verify peers benchmarks clean

demo: .venv/installed
	$(BIN)/multiattn demo

test: export OMP_NUM_THREADS = 1
test: export TF_CPP_MIN_LOG_LEVEL = 2
test: lint .venv/peers
	KERAS_BACKEND=tensorflow $(BIN)/pytest -n 2 tests
	KERAS_BACKEND=jax $(BIN)/pytest -n 2 tests/floor/test_keras.py tests/floor/test_keras_module.py
	KERAS_BACKEND=torch $(BIN)/pytest -n 2 tests/floor/test_keras.py tests/floor/test_keras_module.py
	$(BIN)/pytest conformance

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

verify: .venv/installed
	$(BIN)/multiattn verify

# Their own dependencies would replace PyTorch.
peers: .venv/peers
.venv/peers: .venv/installed
	$(BIN)/pip install --quiet --no-deps --constraint constraints.txt timm torchvision
	touch $@

benchmarks: .venv/peers
	$(BIN)/python -m benchmarks.run

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv demo
