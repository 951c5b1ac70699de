# Plain `make` says what there is to make. Everything is built into .venv; build/ holds what can be built again.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# Debian's own Python, if it is new enough: it is built with more optimisation than most, and a start shows it.
DEBIAN := /usr/bin/python3
PYTHON ?= $(shell $(DEBIAN) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $(DEBIAN) || echo python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
GENERATED := pyoci/plan/steps.py pyoci/bundle/validator.py native/executor/steps.h
SOURCES := $(filter-out $(GENERATED), $(shell find pyoci native schemas -type f \
	-not -path '*/__pycache__/*' -not -path 'pyoci/bundle/schemas/*' -not -name '*.so' -not -name _executor))
# Two makes in one tree wait for each other.
LOCKED := exec 9>.venv.lock; flock 9;

.PHONY: help build test lint test-unit test-system test-engines test-v2 demo bench install clean

help:
	@sed -n 's/^## //p' Makefile

## make build          build pyoci; the command is .venv/bin/pyoci
build: $(VENV)/.built
	@:

$(VENV)/.ready: pyproject.toml
	@PYTHON=$(PYTHON) .ci/install build
	@$(LOCKED) echo "making $(VENV)"; \
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	$(PIP) install --upgrade pip; \
	$(PIP) install -r <($(BIN)/python .ci/requirements)
	@touch $@

$(VENV)/.built: $(VENV)/.ready setup.py pyproject.toml $(SOURCES)
	@$(LOCKED) echo "building pyoci"; touch $@.begun; \
	$(PIP) install --no-build-isolation --no-deps --force-reinstall .
	@mv $@.begun $@

## make demo           from nothing to a running container, each command shown
demo: build
	@.ci/install demo
	@test bundles/rootfs/bin/busybox -nt bundles/make.py || $(BIN)/python bundles/make.py
	@bundles/demo $(BIN)/pyoci

## make test           everything that is checked: lint, unit and system tests, here and in a VM (not there: VM=no)
# The VM is emulated and keeps one core busy, while the tests here mostly wait: they run side by side.
test: lint
	@[ "$(VM)" = no ] || .ci/install vm; failed=; mkdir -p build; there=build/test-v2.log; \
	if [ "$(VM)" != no ]; then $(MAKE) --no-print-directory test-v2 >$$there 2>&1 & vm=$$!; fi; \
	$(BIN)/pytest || failed=1; \
	if [ "$(VM)" != no ]; then wait $$vm || failed=1; cat $$there; fi; \
	test -z "$$failed"

## make lint           ruff and mypy
lint: build
	@$(BIN)/ruff check .
	@$(BIN)/mypy

## make test-unit      the tests that need no root
test-unit: build
	@$(BIN)/pytest tests/unit

## make test-system    the tests that make containers
test-system: build
	@$(BIN)/pytest tests/system

## make test-engines RUNTIME=PATH    the tests under podman, containerd, Docker and buildah, with any runtime
RUNTIME ?= $(BIN)/pyoci
test-engines: build
	@.ci/install test
	@$(BIN)/pytest -v tests/engines --runtime $(RUNTIME)

## make test-v2        in a VM with cgroup v2, AppArmor and systemd, the system tests that depend on them; systemd's with v1, SELinux's
HYBRID := --kernel-arg systemd.unified_cgroup_hierarchy=0
SELINUX := --kernel-arg security=selinux --kernel-arg selinux=1 --kernel-arg enforcing=0
test-v2: build
	@.ci/install vm
	@echo "in the VM with v1's hierarchies:"; PYTHONPATH=tests $(BIN)/python -m vm $(HYBRID) -- $(BIN)/pytest \
	tests/system/test_systemd_hybrid.py tests/system/test_resource_properties.py \
	-k "test_systemd_hybrid or hybrid and (network or hugepageLimits or rdma)"
	@echo "in the VM:"; PYTHONPATH=tests $(BIN)/python -m vm -- \
	$(BIN)/pytest -m layout tests/system tests/engines
	@echo "in the VM with SELinux:"; \
	PYTHONPATH=tests $(BIN)/python -m vm $(SELINUX) -- $(BIN)/pytest $(wildcard tests/system/test_selinux*.py)

## make bench          pyoci beside runc and crun: time, CPU, memory
bench: build
	@.ci/install test
	@$(BIN)/python tests/bench/bench.py

## make install PREFIX=/usr/local      PREFIX/bin/pyoci and PREFIX/lib/pyoci, on their own
PREFIX ?= /usr/local
install: build
	@echo "installing into $(PREFIX)"
	@work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	$(PIP) wheel --no-build-isolation --no-deps --wheel-dir "$$work" .; \
	$(PIP) install --target "$$work/pyoci" "$$work"/*.whl; \
	mkdir -p "$(PREFIX)/bin" "$(PREFIX)/lib"; \
	install -m 755 "$$work/pyoci/bin/pyoci" "$(PREFIX)/bin/pyoci"; \
	rm -rf "$$work/pyoci/bin" "$(PREFIX)/lib/pyoci"; \
	cp -r "$$work/pyoci" "$(PREFIX)/lib/pyoci"

## make clean          remove what was built
clean:
	rm -rf $(VENV) .venv.lock build bundles/rootfs *.egg-info $(GENERATED) pyoci/bundle/schemas
