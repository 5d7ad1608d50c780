# `make demo`: the weights of a network trained in PyTorch, in Keras and in Flax.
# `make test`: everything that must hold. `make verify`: every case in every runtime.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint verify clean

demo: .venv/installed
	$(BIN)/multiattn demo

test: lint
	$(BIN)/pytest

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

verify: .venv/installed
	$(BIN)/multiattn verify

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv demo
