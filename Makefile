# Tritongate. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup serve test check fmt bench params lock clean

PORT ?= 8000
HOST ?= 127.0.0.1
BIN := .venv/bin
CODE := tokentext build launcher adapter model_repository deploy tests

help: ## what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16
	@echo "  set-up needs Python 3.10 to 3.12 (PYTHON=... chooses one) and happens by itself, in .venv"

setup: ## the environment for tests and checks
	@requirements/setup.sh test

serve: ## set up, fetch the default models, serve the OpenAI API [PORT=8000] [HOST=127.0.0.1] [ARGS=...]
	@requirements/setup.sh serve
	@exec $(BIN)/tritongate serve --host $(HOST) --port $(PORT) $(ARGS)

test: setup ## all tests, against a real Triton [T=tests/unit]
	@$(BIN)/python -m pytest $(T)

check: setup ## lint, format and types
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy

fmt: setup ## format the code and mend what the linter can
	@$(BIN)/ruff check --fix --quiet $(CODE) || true
	@$(BIN)/ruff format $(CODE)

bench: setup ## cost per token: bare gRPC client, featureless proxy, adapter [ARGS=...]
	@$(BIN)/python -m tests.bench $(ARGS)

params: setup ## write docs/parameters.md from the request models
	@$(BIN)/python -m adapter.schema.parameters > docs/parameters.md

lock: ## resolve the dependencies anew, with hashes
	@requirements/make_locks.sh "$$(sh requirements/find_python.sh)"

clean: ## remove the environment and everything generated (not the downloaded weights)
	@if command -v flock >/dev/null && [ -e .run/lock ] && ! flock -n .run/lock true; then \
		echo "tritongate serve (process $$(cat .run/lock)) runs from here: stop it first" >&2; exit 1; fi
	@rm -rf .venv .run dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
