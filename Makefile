# crossbus. `make serve` runs the hub, `make test` runs every check; both set themselves up from the hashed locks, in
# one virtual environment: `make serve` puts the hub's own packages into it, the developer's targets add their tools.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh

HUB_FILE ?= config/hub.yaml
KILLS ?= 100
RUNS ?= 5
EVENTS ?= 40000
PARKED ?= 1000000
SEEDS ?= 10000
SCENARIO ?= steady
USERS ?= 50
SECONDS ?= 60
MINUTES ?= 60
# Which Python makes the environment; any one from 3.11 on: make serve PYTHON=/opt/python/bin/python3.12
PYTHON ?=
PIP_FLAGS := --disable-pip-version-check --no-input --progress-bar off

VENV := .venv
BIN := $(VENV)/bin
CODE := $(wildcard router tests loadtest/*.py config/grafana)
LOCK_FLAGS := --universal --generate-hashes --no-strip-extras --no-emit-index-url --python-version 3.11 --quiet \
  --custom-compile-command 'make lock'

##@ Run
serve: $(VENV)/.serve  ## run the hub with config/hub.yaml on 127.0.0.1:4610 (HUB_FILE=… for another hub file)
	@exec $(BIN)/crossbus serve $(HUB_FILE)

##@ Check
test: $(VENV)/.dev  ## everything a change must pass: format, lint, types, tests
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy $(CODE)
	$(BIN)/pytest -n auto --dist loadfile

test-deep: $(VENV)/.dev $(VENV)/.load  ## all tests, with those that are too long for `make test`
	CROSSBUS_TEST_DEEP=1 $(BIN)/pytest -m "" --timeout 1800

lint: $(VENV)/.dev  ## format and lint, checked only
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)

types: $(VENV)/.dev  ## mypy, strict
	$(BIN)/mypy $(CODE)

coverage: $(VENV)/.dev  ## the tests with branch coverage; the core and the pipeline must reach 100 %
	$(BIN)/coverage erase
	$(BIN)/pytest --cov --cov-branch --cov-report=
	$(BIN)/coverage report
	$(BIN)/coverage report --include='router/core/*,router/pipeline.py' --fail-under=100

bench: $(VENV)/.dev  ## the goals, every path measured; results go to loadtest/results (a quarter of an hour; RUNS=5 EVENTS=40000)
	$(BIN)/python -m loadtest --runs $(RUNS) --events $(EVENTS)

bench-peers: $(VENV)/.dev  ## moto and ministack beside crossbus, installed into folders of their own (ten minutes; RUNS=3)
	$(BIN)/python -m loadtest.peers --runs $(if $(filter command line,$(origin RUNS)),$(RUNS),3)

bench-matching: $(VENV)/.dev  ## the rule table's benchmarks, all workloads of ../shared/bench (two minutes)
	$(BIN)/python -m loadtest.matching
	$(BIN)/python -m loadtest.matching --changes

bench-control-plane: $(VENV)/.dev  ## every call of the events API, long listings, and delivery while rules change (three minutes)
	$(BIN)/python -m loadtest.control_plane

load: $(VENV)/.load  ## one load scenario against a fresh hub: steady burst noisy-neighbour slow-target region-outage rule-deployment (SCENARIO=steady USERS=50 SECONDS=60)
	$(BIN)/python -m loadtest.load --scenario $(SCENARIO) --users $(USERS) --seconds $(SECONDS)

soak: $(VENV)/.dev  ## a hub at half of saturation with faults on: memory and store flat, nothing lost (one hour; MINUTES=60)
	$(BIN)/python -m loadtest.soak --minutes $(MINUTES)

crash: $(VENV)/.dev  ## kill a hub under load again and again, and look for every acknowledged event (KILLS=100)
	$(BIN)/python -m loadtest.crash --kills $(KILLS)

outage: $(VENV)/.dev  ## let a target be away until a million deliveries wait for it, and measure (ten minutes; PARKED=1000000)
	$(BIN)/python -m loadtest.outage --parked $(PARKED)

simulate: $(VENV)/.dev  ## simulate hubs in which everything fails, with fresh seeds on all processors (SEEDS=10000)
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

##@ Change
format: $(VENV)/.dev  ## format the code and mend what lint can mend
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

# Extras stay in the locks: pip, which asks for hashes, takes `coverage[toml]` for another package than `coverage`, and
# would want the newest. The compiler lives in a folder that is thrown away: it is no part of the environment. The
# present pins are kept where
# pyproject.toml allows them; `make lock UPGRADE=--upgrade` takes the newest.
lock:  ## write the locks anew from pyproject.toml (UPGRADE=--upgrade takes the newest of everything)
	@set -e; $(find_python); folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	"$$python" -m venv "$$folder/venv"; \
	"$$folder/venv/bin/pip" install $(PIP_FLAGS) --quiet uv; \
	uv="$$folder/venv/bin/uv"; \
	"$$uv" pip compile $(LOCK_FLAGS) $(UPGRADE) --group build pyproject.toml -o requirements.lock >/dev/null; \
	"$$uv" pip compile $(LOCK_FLAGS) $(UPGRADE) --group build --group dev -c requirements.lock pyproject.toml \
	  -o requirements-dev.lock >/dev/null; \
	"$$uv" pip compile $(LOCK_FLAGS) $(UPGRADE) --group build --group load -c requirements.lock -c requirements-dev.lock \
	  pyproject.toml -o requirements-load.lock >/dev/null
	@echo "wrote requirements.lock, requirements-dev.lock and requirements-load.lock; now: make test"

clean:  ## remove the environment and all that tools have left behind; the data folder stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* dist
	find router tests loadtest -name __pycache__ -type d -prune -exec rm -rf {} +

dashboards: $(VENV)/.dev  ## write config/grafana/dashboards anew from config/grafana/source
	$(BIN)/python -B config/grafana/make.py

##@ Help
help:  ## this text
	@awk 'BEGIN { FS = ":.*##[ ]*" } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5); next } \
	  /^[a-z-]+:.*##/ { printf "  make %-19s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: serve test test-deep lint types coverage bench bench-peers bench-matching bench-control-plane load soak crash outage simulate format \
  dashboards lock clean help FORCE

# --- Set-up. A stamp is younger than the locks it was made from, so that a second run does nothing. An environment
# whose Python has gone away is made again.
BROKEN := $(if $(wildcard $(BIN)/python),,FORCE)
FORCE:

$(VENV)/.serve: requirements.lock pyproject.toml $(BROKEN)
	@$(call install,requirements.lock)
	@touch $@

$(VENV)/.dev: requirements-dev.lock requirements.lock pyproject.toml $(BROKEN)
	@$(call install,requirements-dev.lock)
	@touch $(VENV)/.serve $@

$(VENV)/.load: requirements-load.lock requirements.lock pyproject.toml $(BROKEN)
	@$(call install,requirements-load.lock)
	@touch $(VENV)/.serve $@

# $(find_python): puts a Python that is new enough into the shell variable `python`, or says what to do.
define find_python
python=; \
for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14 python); do \
  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
    python=$$candidate; break; \
  fi; \
done; \
if [ -z "$$python" ]; then \
  echo "crossbus needs Python 3.11 or later; $(or $(PYTHON),python3) is:" \
    "$$($(or $(PYTHON),python3) --version 2>&1 | head -n 1)" >&2; \
  echo "Install a newer one, or name it: make $(or $(MAKECMDGOALS),serve) PYTHON=/path/to/python3.12" >&2; \
  exit 1; \
fi
endef

# $(call install,LOCK): the environment if there is none, the lock's packages, then the project itself as it stands here
# (built by the flit_core of the lock, so that nothing but the lock is ever fetched). A dot is a line of pip's.
define install
if ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
  $(find_python); \
  echo "making $(VENV) with $$("$$python" --version)"; \
  rm -rf $(VENV); \
  "$$python" -m venv $(VENV) || { \
    rm -rf $(VENV); \
    echo "cannot make a virtual environment (on Debian and Ubuntu it needs the package python3-venv)" >&2; exit 1; \
  }; \
fi; \
echo "installing $(1) into $(VENV); the first time takes a minute or two"; \
{ $(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes -r $(1) 2>&1; echo $$? > $(VENV)/.status; } \
  | tee $(VENV)/install.log | while read -r line; do printf .; done; echo; \
if [ "$$(cat $(VENV)/.status)" != 0 ]; then \
  tail -n 15 $(VENV)/install.log >&2; \
  echo "pip could not install $(1); all it said is in $(VENV)/install.log." >&2; \
  echo "Is the package index in reach (proxy, PIP_INDEX_URL), and has it the files of the lock? Then try again." >&2; \
  exit 1; \
fi; \
$(BIN)/python -m pip install $(PIP_FLAGS) --quiet --no-deps --no-build-isolation --editable .
endef
