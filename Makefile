# One command per job. Everything runs from .venv, which holds pinned dependencies; nothing needs root.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NATIVE := $(VENV)/.native

# The first Python that is new enough; PYTHON=... names another one.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

.DEFAULT_GOAL := help
.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | sort | expand -t 10

.PHONY: setup
setup: $(STAMP) $(NATIVE) ## install all dependencies into .venv (about 2 GB, a few minutes); the second time it only verifies u2netp's weights
	@$(FETCH_U2NETP)

define SETUP_NOTICE
make setup: installing Python packages into $(VENV): torch, transparent-background, the web server, and the tools for
tests. This needs about 2 GB of disk with a CPU build of torch, and several GB more with the CUDA build that PyPI has for
x86-64 Linux. It takes one minute on a fast network, and ten minutes or more on a slow one. It is done only once. After the
line "Installing collected packages" pip prints nothing for about a minute, while it unpacks.
endef
export SETUP_NOTICE

define NO_NATIVE
service/native could not be compiled: everything works, but some loops over pixels take longer. Debian: apt-get install gcc libc6-dev, then make setup
endef
export NO_NATIVE

# The weights of the embedded engine (4.6 MB). The script does nothing if the file is in place and has the right hash.
FETCH_U2NETP = $(BIN)/python deploy/fetch_u2netp.py

# Use pip, not a faster installer: pip finds a CPU build of torch where one is provided.
# transparent-background requires opencv-python, which needs libGL. Both OpenCV packages write into cv2/, so the headless
# one is installed last.
PIP = $(BIN)/python -m pip --disable-pip-version-check
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or later was found; install one, or name it: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "$$SETUP_NOTICE"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt pip setuptools wheel
	$(PIP) install --constraint constraints.txt --no-build-isolation . --group dev
	$(PIP) uninstall --yes opencv-python
	$(PIP) install --constraint constraints.txt --force-reinstall --no-deps opencv-python-headless
	@touch $@

# Compiles the C files of service/native, in seconds. build/ is removed so that no older library is installed if that fails. Without
# a compiler nothing is tried and there is no stamp, so that the next call looks for one again. The folder itself is newer than the
# stamp if a file was removed or renamed.
COMPILER = $(BIN)/python -c 'import os, shutil, sys, sysconfig; \
	sys.exit(not shutil.which((os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]))'
COMPILED = $(BIN)/python -c 'import sys; from service.native.library import LIBRARY; sys.exit(LIBRARY is None)'
$(NATIVE): $(STAMP) setup.py service/native $(wildcard service/native/*.[ch])
	@rm -rf build $@
	@if $(COMPILER) && $(PIP) install --quiet --no-deps --no-build-isolation --force-reinstall . && $(COMPILED); \
	then touch $@; else echo "make setup: $$NO_NATIVE" >&2; fi
	@test ! -e $@ || echo "make setup: done. Start the service with: make run, or ./inspyrenet --help"

.PHONY: run
run: setup ## start the service on port 8080, with InSPyReNet if its weights can be had, else with u2netp
	@echo "make run: starting the service on http://localhost:$${INSPYRENET_PORT:-$${PORT:-8080}}; Ctrl-C stops it. At the first start it downloads the"
	@echo "InSPyReNet checkpoint (about 370 MB). If it cannot, it uses u2netp, a smaller network, and says so."
	@INSPYRENET_ENGINE=$${INSPYRENET_ENGINE:-auto} exec ./inspyrenet

.PHONY: monitor monitor-stop
monitor: ## start Prometheus, Alertmanager and a receiver that prints alerts, in the background; all their files are in out/monitor
	@$(PYTHON) deploy/monitor.py start out/monitor

monitor-stop: ## end what make monitor has started
	@$(PYTHON) deploy/monitor.py stop out/monitor

.PHONY: demo
demo: setup ## start the service, remove the background of a photograph, show the warmup state, stop it
	$(BIN)/python deploy/demo.py

# Some environments forbid Python's caches. Without them, each of the hundreds of services that the tests start would
# compile the project anew.
test test-fast: export PYTHONDONTWRITEBYTECODE =

# Many tests wait for processes and clients, so two cores keep four workers busy. A file stays with one worker, so that what
# its tests share is made once. tests/conftest.py puts files with slow tests first; xdist must not sort them anew.
WORKERS ?= 4

# Prometheus, Alertmanager and fifteen services at sixty times their pace: it needs both cores for itself.
DRILL := tests/e2e/test_alerts_fire.py

.PHONY: test
test: setup ## run all tests (10 to 17 minutes on two cores); with REQUIRE_E2E=1 a missing program is a failure; ARGS=... goes to pytest
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not ray" --ignore $(DRILL) $(ARGS)
	$(BIN)/python -m pytest $(DRILL)

.PHONY: test-ray
test-ray: setup ## install Ray and an S3 server for tests (200 MB to download, 500 MB of disk), and test cut --ray on a cluster here
	$(PIP) install --quiet --constraint constraints.txt --group ray
	REQUIRE_E2E=1 $(BIN)/python -m pytest -n 0 -m ray tests/service/cli/test_cluster_run.py $(ARGS)

# The marks are explained in pyproject.toml.
SLOW := process or network or photographs or timing or memory or e2e or stock or gpu or ray
# These tests wait for little, and each worker spends seconds on collecting them. tests/support/examples.py explains "few".
.PHONY: test-fast
test-fast: WORKERS = 3
test-fast: setup ## run the tests without a mark that says why they are slow (one to two minutes); ARGS=... goes to pytest
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not ($(SLOW))" --hypothesis-profile few $(ARGS)

.PHONY: soak
soak: setup ## run the long reliability tests: 20,000 damaged files, 10,000 small pictures, 1,000 of all kinds, ten minutes of faults and alerts; ARGS=... goes to tests/soak
	$(BIN)/python -m tests.soak.fuzz
	$(BIN)/python -m tests.soak $(ARGS)
	$(BIN)/python -m tests.soak.alerts
	$(BIN)/python -m benchmarks.goodput

.PHONY: check
check: setup ## check style, format, types, import contracts, known vulnerabilities, manifests and alert rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python deploy/audit.py
	$(BIN)/python deploy/manifests.py
	@if command -v promtool >/dev/null; then set -x; promtool check rules metrics/alerts.yml && promtool test rules metrics/alerts_test.yml; \
	elif [ "$$REQUIRE_E2E" = 1 ]; then echo "check: promtool is missing (Debian: apt-get install prometheus)" >&2; exit 1; \
	else echo "check: the alert rules were SKIPPED: promtool is missing (Debian: apt-get install prometheus)"; fi

BENCHES ?= png foreground around quality plumbing goodput forward precision scrape cold warm gpu throughput batch scaling growth
.PHONY: bench
bench: setup ## run the benchmarks beside stock transparent-background (90 minutes on two cores); BENCHES="png cold" runs some; ARGS=... goes to each
	for each in $(BENCHES); do $(BIN)/python -m benchmarks.$$each $(ARGS) || exit 1; done
