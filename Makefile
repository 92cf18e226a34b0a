# `make` or `make help` lists the targets. All of them but `setup` expect nothing but Python 3.11+ and make.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# Where bytecode is not written, each start compiles every library anew: MLflow alone takes 24 s then.
unexport PYTHONDONTWRITEBYTECODE
# OpenMP's threads spin while they wait, which doubles the time of tests that run side by side.
export OMP_WAIT_POLICY ?= PASSIVE
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# What `make up` works on.
DATASET ?= bayside
# Test processes. Options for pytest: make pytest ARGS="-k bundle"
WORKERS ?= 2
ARGS ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## make or refresh the virtual environment .venv
	@scripts/setup

.PHONY: up
up: setup ## simulate a market, train on it, show the report, and serve it in the background
	appraise simulate $(DATASET)
	appraise train $(DATASET)
	appraise evaluate $(DATASET)
	@printf '\nThe environment is in .venv: source .venv/bin/activate\nThen, for example:\n'
	@printf '  %s\n' \
	  "appraise models list" \
	  "appraise simulate $(DATASET) --rows 100 --seed 1 --output new.csv" \
	  "appraise predict $(DATASET) --input new.csv --output estimates.csv" \
	  "appraise init my_sales.csv --target price" \
	  "mlflow ui --backend-store-uri sqlite:///$${APPRAISE_HOME:-.appraise}/mlflow.db"
	@printf '\n'
	@appraise up

.PHONY: down
down: ## end the service that `make up` started
	@appraise down

.PHONY: test
test: setup browser kafka test-servers lint types contracts pytest ## set up and run every check and every test
	@scripts/install-kafka --check

.PHONY: lint
lint: setup ## style and format
	ruff check
	ruff format --check

.PHONY: types
types: setup ## static types
	mypy

.PHONY: contracts
contracts: setup ## who may import whom
	lint-imports

.PHONY: pytest
pytest: setup ## the tests alone
	pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: docs-check
docs-check: setup ## links, commands, settings and keys in the documentation
	pytest tests/project $(ARGS)

.PHONY: kafka
kafka: setup ## the Java and Maven that the tests' Kafka runs on
	@scripts/install-kafka

.PHONY: browser
browser: setup ## the browser that the report's tests look through
	@scripts/install-chromium

.PHONY: test-servers
test-servers: ## the S3 service that the tests run against, and what cuts its connections
	@scripts/install-test-servers >/dev/null

.PHONY: format
format: setup ## put the code into the house format
	ruff check --fix
	ruff format

.PHONY: lock
lock: setup ## write the lock files after pyproject.toml changed; ARGS=--upgrade raises the pins
	scripts/lock $(ARGS)

.PHONY: clean
clean: ## remove caches and build output; .venv and .appraise stay
	rm -rf dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis catboost_info
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
