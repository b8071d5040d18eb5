# `make` lists what there is. Needs make and Python 3.11 or newer, nothing else:
# the first target that you run makes .venv and installs what requirements.lock names.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# Each of these has a target of its own: `make test` is what one runs again and again.
SYSTEM := tests/chaos tests/fleet/test_serving.py tests/inference/test_text_shared.py \
	tests/test_compose.py tests/test_overload.py tests/test_stalled_readers.py \
	tests/test_stripe_check.py tests/test_up.py
RECOVERY := tests/backup/test_restore.py tests/upgrade
SECURITY := tests/security

.DEFAULT_GOAL := help
.PHONY: help run demo stripe-demo stripe-check test test-system test-browser test-gpu test-money \
	test-recovery test-security clients chaos soak mutations proof lint format bench load lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(INSTALLED) ## Run the whole product until Ctrl-C
	@exec $(BIN)/python manage.py up

demo: $(INSTALLED) ## Generate one of each kind through the public API
	@exec $(BIN)/python examples/demo.py

stripe-demo: $(INSTALLED) ## Buy credit from a stand-in for Stripe, in a throw-away installation
	@exec $(BIN)/python -m tests.fake_stripe

stripe-check: $(INSTALLED) ## The same with Stripe itself, in its test mode, by hand
	@exec $(BIN)/python -m tests.stripe_check

test: $(INSTALLED) ## Run the tests, on the real PostgreSQL and Valkey
	@exec $(BIN)/python -m pytest $(addprefix --ignore ,$(SYSTEM) $(RECOVERY) $(SECURITY)) $(ARGS)

test-system: $(INSTALLED) ## Start, crowd, stop and break whole installations (minutes)
	@exec $(BIN)/python -m pytest $(SYSTEM) $(ARGS)

test-recovery: $(INSTALLED) ## Restore backups, and upgrade what an older version has left (minutes)
	@exec $(BIN)/python -m pytest $(RECOVERY) $(ARGS)

test-security: $(INSTALLED) ## Try every route, body and door as those who should not get in (minutes)
	@exec $(BIN)/python -m pytest $(SECURITY) $(ARGS)

clients: $(INSTALLED) ## Drive every route of OpenAI's with its clients for Python and JavaScript
	@exec $(BIN)/python -m tests.clients $(ARGS)

chaos: $(INSTALLED) ## Three minutes of random faults on a system of its own, and a report
	@exec $(BIN)/python -m tests.chaos $(ARGS)

soak: $(INSTALLED) ## The same for half an hour
	@exec $(BIN)/python -m tests.chaos --minutes 30 $(ARGS)

mutations: $(INSTALLED) ## Take each guard away and see that the tests fail (minutes)
	@exec $(BIN)/python -m tests.mutations $(ARGS)

proof: $(INSTALLED) ## Every promise with the figure that it reaches, as a table (most of an hour)
	@exec $(BIN)/python -m tests.proof $(ARGS)

test-browser: $(INSTALLED) ## Click through the pages with Chromium
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		echo "Installing Chromium ..." && apt-get update --quiet=2 && \
		apt-get install --quiet=2 --yes --no-install-recommends chromium >/dev/null; } || { \
		echo "There is no chromium in PATH: install it (Debian: apt-get install chromium)."; exit 1; }
	@exec $(BIN)/python -m pytest tests/browser $(ARGS)

test-gpu: $(INSTALLED) ## Run the engines on this machine's NVIDIA GPU
	@exec $(BIN)/python -m pytest -c tests/gpu/pytest.ini --confcutdir=tests/gpu tests/gpu $(ARGS)

test-money: $(INSTALLED) ## Run the tests of money with all histories and orders (minutes)
	@exec $(BIN)/python -m pytest --full tests/billing tests/jobs/test_budgets.py $(ARGS)

lint: $(INSTALLED) ## Check style, types, layers and migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@data=$$(mktemp -d) && trap 'rm -rf "$$data"' EXIT && \
		MODELPILOT_DATA="$$data" $(BIN)/python manage.py makemigrations --check --dry-run

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(INSTALLED) ## Measure this machine
	@exec $(BIN)/python -m benchmarks.bench

load: $(INSTALLED) ## A crowd: 1,000 streams, 10,000 jobs, 5,000 connections (minutes)
	@exec $(BIN)/python -m benchmarks.crowd $(ARGS)

lock: $(INSTALLED) ## Pin every dependency anew in requirements.lock
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet pyproject.toml \
		--extra text --extra speech --extra transcription --extra image --extra dev \
		--output-file requirements.lock \
		--strip-extras --no-annotate --no-emit-options \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(ARGS)
	@sed -i 's/^\(torch==[0-9.]*\)+cpu$$/\1/' requirements.lock
	@printf '%s\n' '' '# Extra "local": only the files of these are read, so what they need as tools' \
		'# stays out (see pyproject.toml). Hence the lock is installed with --no-deps.' \
		>> requirements.lock
	@$(BIN)/python -c 'import tomllib; \
		project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
		print(*project["optional-dependencies"]["local"], sep="\n")' >> requirements.lock

# torch comes first and with what it needs: on a machine with a GPU that is CUDA's libraries, which
# the lock, made on one without, doesn't name.
$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "ModelPilot needs Python 3.11 or newer, and '$(PYTHON)' is not."; \
		echo "Name another: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	@echo "Installing what requirements.lock names into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint requirements.lock "$$(grep ^torch== requirements.lock)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	@touch $@
