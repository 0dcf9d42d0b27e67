# Portico: `make demo` shows it, `make test` checks it. Needs Python 3.11 or newer with venv and pip, git and make, and nothing else:
# the rest comes from PyPI.
#
# The interpreter: `.venv` if it is there; else a Python that already has the given packages (nothing is installed, nothing fetched);
# else `.venv` is made from requirements.lock, with uv where there is one, with venv and pip where there is none.

GIVEN := authlib, aiohttp, keyring, platformdirs, pluggy, pytest, pytest_aiohttp
SYSTEM := $(firstword $(foreach name,python3 python python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
HAS_GIVEN := $(if $(SYSTEM),$(shell $(SYSTEM) -c 'import $(GIVEN)' 2>/dev/null && echo yes))
VENV_PYTHON := $(if $(filter Windows_NT,$(OS)),.venv/Scripts/python.exe,.venv/bin/python)
PYTHON := $(if $(wildcard $(VENV_PYTHON)),$(VENV_PYTHON),$(if $(HAS_GIVEN),$(SYSTEM),$(VENV_PYTHON)))
PLUGINS := $(wildcard extensions/*/src)
SEPARATOR := $(if $(filter Windows_NT,$(OS)),;,:)
EMPTY :=
RUN := PYTHONPATH="$(subst $(EMPTY) ,$(SEPARATOR),src $(PLUGINS))" $(PYTHON)

# Many tests wait for a process of their own, so one worker more than there are processors; one process without pytest-xdist.
# The tests of a file stay with one worker, which has then what they share, and whoever is done takes over half of what is left.
WORKERS = $(shell $(PYTHON) -c 'import os, xdist; print("-n", (os.cpu_count() or 1) + 1, "--dist worksteal")' 2>/dev/null)

# Where it is set, each of the many processes that the tests start would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

FLOW ?=
REGION ?=
ARGS ?=

.PHONY: help demo test interop browser soak chaos lint bench lock clean venv
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1	/' | expand -t 16

demo: $(PYTHON)  ## sign in, refresh and ask a model, against the emulator (FLOW=browser|device REGION=global|cn)
	@$(RUN) -m portico demo $(if $(FLOW),--flow $(FLOW)) $(if $(REGION),--region $(REGION)) $(ARGS)

test: $(PYTHON)  ## every test that can run here; what cannot is skipped with its reason
	@$(RUN) -m pytest -q $(WORKERS) $(ARGS)

interop: $(PYTHON)  ## the tests against what others wrote: SDKs, coding tools, KeePassXC, an authorization server; and the typed pages
	@$(RUN) -m pytest -q $(WORKERS) -m interop $(ARGS)

browser: $(PYTHON)  ## the tests that drive a real Chromium
	@$(RUN) -m pytest -q -m "not slow" -k "browser or chromium" $(ARGS)

soak: $(PYTHON)  ## property tests with 10^5 cases, and the long runs
	@HYPOTHESIS_PROFILE=soak PORTICO_TEST_TIMEOUT_S=3600 $(RUN) -m pytest -q -m "not interop" $(ARGS)

chaos: $(PYTHON)  ## the kill matrices (SIGKILL at every step of a write, SIGTERM and SIGHUP of a refresh, 200 killed gateways), 10^3 cases
	@HYPOTHESIS_PROFILE=chaos PORTICO_TEST_TIMEOUT_S=600 $(RUN) -m pytest -q -m "not interop" \
	  -k "kill or crash or chaos or slow or hypothesis or whole_bodies or plan_bodies" $(ARGS)

lint: $(PYTHON)  ## ruff, mypy --strict, the floors
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@$(RUN) -m pytest -q tests/test_architecture.py tests/test_floors.py

bench: $(PYTHON)  ## start-up, token, sign-in and size, as ratios against named floors
	@$(RUN) benchmarks/run.py $(ARGS)

venv: $(VENV_PYTHON)  ## make .venv with the pinned packages

$(VENV_PYTHON):
	@test -n "$(SYSTEM)" || { echo "Python 3.11 or newer is needed; none was found on PATH." >&2; exit 1; }
	@command -v uv >/dev/null 2>&1 || $(SYSTEM) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(SYSTEM) lacks venv and pip, which make .venv. On Debian and Ubuntu they are in a package of their own:" >&2; \
	  echo "  apt-get install python3-venv" >&2; exit 2; }
	@rm -rf .venv  # one whose Python is gone, as after an upgrade, cannot be made anew in its place
	@echo "Making .venv with the pinned packages: once, about a minute." >&2
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing --python "$$(command -v $(SYSTEM))" .venv && \
	  uv pip install --quiet --python .venv --require-hashes -r requirements.lock && \
	  uv pip install --quiet --python .venv --no-deps --no-build-isolation -e .; \
	else \
	  $(SYSTEM) -m venv .venv && \
	  $(VENV_PYTHON) -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock && \
	  $(VENV_PYTHON) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi || { rm -rf .venv; exit 1; }

ifeq ($(PYTHON),$(SYSTEM))
.PHONY: $(SYSTEM)
$(SYSTEM): ;
endif

lock:  ## renew requirements.lock (all platforms, hashes, no addresses) and constraints.txt; needs uv
	uv pip compile --quiet --universal --upgrade --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --group dev pyproject.toml -o requirements.lock
	sed -nE 's/^([A-Za-z0-9._-]+==[^ ;\\]+).*/\1/p' requirements.lock > constraints.txt

clean:  ## remove what the other targets made
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache
