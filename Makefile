# The verbs of this project; README.md says what they are for.
SHELL := /bin/bash
export TUNESMITH_VENV ?= $(CURDIR)/.venv
BIN := $(TUNESMITH_VENV)/bin
SEED ?= 1
QUICK := not (gpu or engine or trainer or service or torture)

.DEFAULT_GOAL := help
.PHONY: help install demo demo-model serve check test torture gpu bench methods openapi lock clean install-test

help:  ## show this list
	@awk -F ":.*## *" "/^[a-z-]+:.*##/ { printf \"%-12s %s\\n\", \$$1, \$$2 }" Makefile

install:  ## put everything into .venv; quick when it is there
	@scripts/install.sh

demo: install  ## train and chat on the demo model, for real (SEED=n)
	@$(BIN)/python examples/quickstart.py --seed $(SEED)

demo-model: install  ## make the demo base model anew (minutes)
	@cd examples && $(BIN)/python -m make_demo_model

serve: install  ## start the service with its defaults
	@$(BIN)/tunesmith serve

check: install-test  ## what must hold before a commit: format, lint, types, imports, quick tests, the committed API
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python openapi/update.py --check
	$(BIN)/pytest -n auto -m "$(QUICK)"

test: check  ## check, and everything with the real trainer, the real engine and the whole service
	$(BIN)/pytest -n 2 --dist loadfile -m "not gpu and not torture and (engine or trainer or service)"

torture: install-test  ## long sweeps of kills and faults, not for every day
	$(BIN)/pytest -m "torture and not gpu"

gpu: install-test  ## what needs a CUDA GPU: the tests, and bases of 8B through the trainer (8 minutes, 24 GB of disk)
	$(BIN)/pytest -m gpu
	$(BIN)/python -m benchmarks gpu

bench: install  ## ratios measured in one run
	@$(BIN)/python -m benchmarks

methods: install-test  ## write the table of docs/methods.md from tests with the real libraries
	@rows=$$(mktemp -d) && $(BIN)/pytest --method-rows=$$rows tests/trainer tests/engine && $(BIN)/python -m tests.methods_page $$rows && rm -r $$rows

openapi: install-test  ## write openapi/openapi.yaml from the application
	$(BIN)/python openapi/update.py

lock:  ## pin every package anew from pyproject.toml (needs uv)
	scripts/lock.sh

clean:  ## remove what was installed and cached here; never data
	rm -rf $(CURDIR)/.venv $(CURDIR)/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find server trainer inference tests examples benchmarks openapi -name __pycache__ -prune -exec rm -rf {} +

install-test:
	@scripts/install.sh server trainer inference test
