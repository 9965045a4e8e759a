# One command per job. Everything runs from .venv, made from pinned dependencies, without root.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The first of these that is new enough; PYTHON=... names another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

.DEFAULT_GOAL := help
.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | sort | expand -t 10

.PHONY: setup
setup: $(STAMP) ## make .venv from pinned dependencies

# pip, not a faster installer: it is what finds a CPU build of torch where one is provided, and the pins are the same.
# transparent-background asks for opencv-python, which needs libGL; both write into cv2/, so the headless one goes last.
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or later was found; install one, or name it: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt pip setuptools wheel
	$(PIP) install --constraint constraints.txt --no-build-isolation . --group dev
	$(PIP) uninstall --yes opencv-python
	$(PIP) install --constraint constraints.txt --force-reinstall --no-deps opencv-python-headless
	@touch $@

.PHONY: run
run: $(STAMP) ## start the service on port 8080, with InSPyReNet if its weights can be had, else GrabCut
	INSPYRENET_ENGINE=$${INSPYRENET_ENGINE:-auto} $(BIN)/python -m service

.PHONY: demo
demo: $(STAMP) ## start the service, cut a photograph out, show how warm it is, stop it
	$(BIN)/python deploy/demo.py

.PHONY: test
test: $(STAMP) ## the whole test suite; REQUIRE_E2E=1 makes a missing program a failure; ARGS=... goes to pytest
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

.PHONY: soak
soak: $(STAMP) ## the long reliability runs: 10,000 small pictures, 1,000 of all kinds; ARGS=... as in tests/soak
	$(BIN)/python -m tests.soak $(ARGS)
	$(BIN)/python -m benchmarks.goodput

.PHONY: check
check: $(STAMP) ## lint, format, types, import contracts, known vulnerabilities, alert rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python deploy/audit.py
	@if command -v promtool >/dev/null; then set -x; promtool check rules metrics/alerts.yml && promtool test rules metrics/alerts_test.yml; \
	elif [ "$$REQUIRE_E2E" = 1 ]; then echo "check: promtool is missing (Debian: apt-get install prometheus)" >&2; exit 1; \
	else echo "check: the alert rules were SKIPPED: promtool is missing (Debian: apt-get install prometheus)"; fi

BENCHES ?= png foreground plumbing goodput forward precision scrape cold warm gpu throughput scaling growth
.PHONY: bench
bench: $(STAMP) ## the benchmarks beside stock transparent-background, an hour and a half on a quiet machine of two cores, most of it cold, warm, throughput, scaling and growth; BENCHES="png cold" runs some, ARGS=... goes to each
	for each in $(BENCHES); do $(BIN)/python -m benchmarks.$$each $(ARGS) || exit 1; done
