# What a person types. `make` alone lists it; `make run` and `make test` need Python 3.11 or newer and nothing else: no root, no Redis, no Docker.
#
# One virtual environment in .venv serves all targets. Stamp files in it remember what was installed, so a second run installs nothing, and a changed
# lock installs again. Everything comes from the hashed locks; nothing is resolved or built on the user's machine but the link to this tree.
#
# make test ARGS="-k cooldown -x"       arguments for pytest
# make run PYTHON=/path/to/python3    an interpreter of your choice (remove .venv to change it later)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lint types check docs format lock bench bench-check fuzz soak test-soak \
	test-browser test-containers test-failover test-generated test-kotlin test-laravel test-nginx test-node test-php test-promtool test-redis clean widget

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
# Python keeps what it has compiled, also where a container's image says otherwise: else each process of the tests would compile the service again.
export PYTHONDONTWRITEBYTECODE :=
ARGS ?=
# Tests run in parallel: one process for each core, and one more, since many wait for servers to start.
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n + 1)))
# Tests whose files each start servers of their own: a process has whole files.
BY_FILE := -n 2 --dist loadfile
# The tests that need nothing but Python.
PLAIN := not (browser or containers or failover or generated or kotlin or laravel or nginx or node or php or promtool or redis)

# Stops where one of some commands is not there: $(call need,COMMANDS,what they are,packages of Debian and Ubuntu)
need = @for command in $(1); do PATH="$$PATH:/usr/sbin" command -v $$command >/dev/null || { \
	echo "make $@: needs $(2). Debian, Ubuntu: apt install $(3)" >&2; exit 1; }; done

# An interpreter counts only if it runs: version managers leave commands on the PATH that merely say "not installed". It must also be able to make a virtual
# environment: Debian packs that apart. Looked for only when .venv has to be made.
FIT := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3; do \
	"$$name" -c '$(FIT)' >/dev/null 2>&1 && { echo "$$name"; break; }; done)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.installed ## Run the service: a sandbox unless a provider is configured (README.md)
	@exec $(VENV)/bin/lastdigits serve

test: $(VENV)/.installed-dev ## Run all tests that need nothing but Python
	$(PY) -m pytest -n $(JOBS) --dist loadfile -m "$(PLAIN)" $(ARGS)

check: lint types ## Lint and check types

lint: $(VENV)/.installed-dev ## Lint, and check the format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(VENV)/.installed-dev ## Check types
	$(PY) -m mypy

format: $(VENV)/.installed-dev ## Format the code, and fix what the linter can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# Warnings are errors: a link or an anchor that leads nowhere, a page that no table of contents lists. It asks no network.
docs: $(VENV)/docs/.installed ## Build the documents as a site in dist/docs, and check their links
	@$(VENV)/docs/bin/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env -c docs/site -d dist/doctrees . dist/docs
	@echo "Open dist/docs/index.html"

# Memory and start-up are those of an installation: of requirements.lock alone.
bench: $(VENV)/.installed-dev $(VENV)/production/.installed ## Measure all that docs/performance.md has: some 15 minutes
	$(PY) -m bench.throughput
	$(PY) -m bench.memory
	$(PY) -m bench.scale
	$(VENV)/production/bin/python -m bench.cost

# A fifth less than the lowest ratio that docs/performance.md has.
bench-check: $(VENV)/.installed-dev ## Fail if a check takes a quarter more CPU than it ever did, against a plain route in the same run
	BENCH_REPEATS=4 BENCH_SECONDS=2 $(PY) -m bench.throughput --floor 0.9 $(ARGS)

# Wheels of the fuzzer are there for Linux on x86_64 only.
FUZZ_SECONDS ?= 60

fuzz: $(VENV)/.installed-fuzz ## Fuzz parsers and routes, FUZZ_SECONDS each: some five minutes
	$(PY) -m tests.fuzz.parsers --seconds $(FUZZ_SECONDS)
	$(PY) -m tests.fuzz.routes --seconds $(FUZZ_SECONDS)

# The seed gives the same faults in the same order. Its last line has the seed, and how much the audit found.
SEED ?= $(shell date +%s)
FAULTS ?= 1000

soak: $(VENV)/.installed-dev ## Inject 1,000 random faults while people verify themselves, and audit what was answered: half an hour and more
	$(PY) -m tests.faults.soak --seed $(SEED) --faults $(FAULTS)

test-soak: $(VENV)/.installed-dev ## The same with 60 faults: every kind at least once
	@$(MAKE) -s soak SEED=15 FAULTS=60

# ---- tests that need more than Python

# Playwright drives the system's Chromium; it downloads none.
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

test-browser: $(VENV)/.installed-dev docs ## Test the pages; needs Chromium, and npm for axe-core
	$(call need,npm,npm,nodejs npm)
	@[ -n "$(CHROMIUM)" ] || { \
		echo "make test-browser: needs Chromium. Debian, Ubuntu: apt install chromium. Or name yours: make test-browser CHROMIUM=/path/to/chrome" >&2; exit 1; }
	CHROMIUM="$(CHROMIUM)" $(PY) -m pytest $(BY_FILE) -m browser $(ARGS)

# What it makes is committed: users of the service need no node. The same source gives the same bytes, which a test holds.
widget: ## Build the widget and the client from clients/js into app/web/static/widget; needs node and npm
	$(call need,node npm,Node 20 or newer with npm,nodejs npm)
	@cd clients/js && npm install --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error && node build.mjs

test-node: $(VENV)/.installed-dev ## Test the Node example of docs/token.md; needs node and npm
	$(call need,node npm,Node 20 or newer with npm,nodejs npm)
	$(PY) -m pytest $(BY_FILE) -m node $(ARGS)

# The generators have an environment and a lock of their own: the service and its tests need none of them. Those of npm are installed for the run.
test-generated: $(VENV)/.installed-dev $(VENV)/generators/.installed ## Make clients of the OpenAPI document, and run them; needs npm, Go and Java
	$(call need,node npm go java,$$command,nodejs npm golang-go default-jre-headless)
	PATH="$(CURDIR)/$(VENV)/generators/bin:$$PATH" $(PY) -m pytest tests/consumers -m generated $(ARGS)

test-php: $(VENV)/.installed-dev ## Test the PHP client; needs php-cli and php-curl
	@php -m 2>/dev/null | grep -qx curl || { \
		echo "make test-php: needs PHP 8.1 or newer with curl. Debian, Ubuntu: apt install php-cli php-curl" >&2; exit 1; }
	$(PY) -m pytest $(BY_FILE) -m php $(ARGS)

test-laravel: $(VENV)/.installed-dev ## Test the Laravel guide's code; needs PHP and Laravel
	@php -r "exit((int) !(stream_resolve_include_path('Illuminate/autoload.php') && extension_loaded('curl') && extension_loaded('pdo_sqlite')));" 2>/dev/null || { \
		echo "make test-laravel: needs PHP with curl, SQLite and Debian's Laravel: apt install php-cli php-curl php-sqlite3 php-laravel-framework" >&2; exit 1; }
	$(PY) -m pytest -m laravel $(ARGS)

# The compiler is a package of npm; Android's org.json is one of Debian.
test-kotlin: $(VENV)/.installed-dev ## Compile and run the Kotlin of the guide for apps; needs npm, Java and libandroid-json-java
	@command -v npm >/dev/null && command -v java >/dev/null && [ -e /usr/share/java/com.android.json.jar ] || { \
		echo "make test-kotlin: Debian, Ubuntu: apt install nodejs npm default-jre-headless libandroid-json-java" >&2; exit 1; }
	$(PY) -m pytest tests/consumers -m kotlin $(ARGS)

test-nginx: $(VENV)/.installed-dev ## Test the caller's address behind a real nginx; needs nginx
	$(call need,nginx,nginx,nginx-light)
	$(PY) -m pytest $(BY_FILE) -m nginx $(ARGS)

test-promtool: $(VENV)/.installed-dev ## Check the metrics and the alerts by Prometheus's own tool; needs promtool
	$(call need,promtool,promtool,prometheus)
	$(PY) -m pytest -m promtool $(ARGS)

# One test at a time: some change the server's settings for a moment, such as maxmemory.
# With a REDIS_URL the suite writes to that Redis, under phones it makes up; without one it runs the system's redis-server on a socket in a temporary directory.
REDIS_URL ?=

test-redis: $(VENV)/.installed-dev ## Run the tests that use a store against REDIS_URL, or the system's redis-server
	@set -e; url='$(REDIS_URL)'; \
	if [ -z "$$url" ]; then \
		command -v redis-server >/dev/null || { \
			echo "make test-redis: needs redis-server 7 or newer (Debian, Ubuntu: apt install redis-server), or REDIS_URL=redis://host:6379/0" >&2; exit 1; }; \
		where=$$(mktemp -d); \
		redis-server --port 0 --unixsocket "$$where/s" --dir "$$where" --save '' --appendonly yes --maxmemory-policy noeviction >"$$where/log" & server=$$!; \
		trap 'kill $$server 2>/dev/null; wait $$server 2>/dev/null || true; rm -rf "$$where"' EXIT; trap 'exit 130' INT TERM; \
		while [ ! -S "$$where/s" ]; do kill -0 $$server 2>/dev/null || { cat "$$where/log" >&2; exit 1; }; sleep 0.1; done; \
		url="unix://$$where/s"; \
	fi; \
	TEST_REDIS_URL="$$url" $(PY) -m pytest -m "redis or ($(PLAIN))" --ignore tests/unit --ignore tests/consumers --ignore tests/containers $(ARGS)

# Needs no more than `make test`, but takes a minute of its own; with redis-server it also speaks TLS.
test-failover: $(VENV)/.installed-dev ## Test Sentinel and Cluster deployments that fail and move under traffic
	$(PY) -m pytest -n 2 --dist worksteal -m failover $(ARGS)

test-containers: $(VENV)/.installed-dev ## Build the image, run docker-compose.yml and check both; needs Docker and Compose
	@command -v docker >/dev/null && docker info >/dev/null 2>&1 || { \
		echo "make test-containers: no Docker Engine answers (docker info). Install Docker Engine and Compose, or set DOCKER_HOST." >&2; exit 1; }
	$(PY) -m pytest -m containers $(ARGS)

# ---- the environment

$(VENV)/.made:
	@"$(PYTHON)" -c '$(FIT)' 2>/dev/null || { \
		echo "Python 3.11 or newer with its venv module is needed, and $(if $(PYTHON),$(PYTHON) is not that,none of python3.13 python3.12 python3.11 python3 is that)." >&2; \
		echo "Debian, Ubuntu: apt install python3 python3-venv. Or name yours: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making $(VENV) with $$("$(PYTHON)" -c 'import sys; print("Python", sys.version.split()[0])')"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

# The project itself is linked, not copied, with the build backend from the lock: --no-build-isolation spares a second, unhashed download of it.
$(VENV)/.installed: $(VENV)/.made requirements.lock pyproject.toml
	@echo "Installing from requirements.lock"
	@$(PIP) install --quiet --require-hashes -r requirements.lock
	@$(PIP) install --quiet --no-build-isolation --no-deps -e .
	@touch $@

# The development lock holds all of the other, in the same versions. Most of it is never imported, so pip compiles none of it: that took longer than the rest.
$(VENV)/.installed-dev: $(VENV)/.made requirements-dev.lock pyproject.toml
	@echo "Installing from requirements-dev.lock"
	@$(PIP) install --quiet --no-compile --require-hashes -r requirements-dev.lock
	@$(PIP) install --quiet --no-build-isolation --no-deps -e .
	@touch $(VENV)/.installed $@

$(VENV)/.installed-fuzz: $(VENV)/.installed-dev requirements-fuzz.lock
	@$(PIP) install --quiet --require-hashes -r requirements-fuzz.lock
	@touch $@

$(VENV)/production/.installed: $(VENV)/.made requirements.lock pyproject.toml
	@$(PY) -m venv --clear $(VENV)/production
	@$(VENV)/production/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements.lock
	@$(VENV)/production/bin/python -m pip --disable-pip-version-check install --quiet --no-build-isolation --no-deps -e .
	@touch $@

# Apart from the others, so that neither the service nor its tests wait for them.
$(VENV)/docs/.installed $(VENV)/generators/.installed: $(VENV)/%/.installed: $(VENV)/.made requirements-%.lock
	@$(PY) -m venv --clear $(VENV)/$*
	@$(VENV)/$*/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements-$*.lock
	@touch $@

# ---- the locks

# One resolution for every platform and Python that the project names. uv keeps what is locked as long as pyproject.toml admits it.
UV := $(VENV)/tools/bin/uv
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-strip-extras --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

lock: $(UV) ## Write the locks from pyproject.toml; UPGRADE=1 takes newer versions
	$(COMPILE) pyproject.toml --extra embedded --group build -o requirements.lock >/dev/null
	$(COMPILE) pyproject.toml --extra embedded --group dev -c requirements.lock -o requirements-dev.lock >/dev/null
	$(COMPILE) pyproject.toml -c requirements.lock -o requirements-docker.lock >/dev/null
	$(COMPILE) --group docs -o requirements-docs.lock >/dev/null
	$(COMPILE) --group generators -o requirements-generators.lock >/dev/null
	$(COMPILE) --group fuzz -o requirements-fuzz.lock >/dev/null

$(UV): $(VENV)/.made
	@$(PY) -m venv $(VENV)/tools
	@$(VENV)/tools/bin/python -m pip --disable-pip-version-check install --quiet uv

clean: ## Remove what was installed and cached; the embedded store in data/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis dist
	find app bench tests -name __pycache__ -type d -prune -exec rm -rf {} +
