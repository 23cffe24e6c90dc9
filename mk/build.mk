# What is compiled: the library, the tree that programs are built against, the emulator, the command line, examples and drivers.

.PHONY: library command live

# Everything in development is built with one selection of packages and features: cargo compiles a dependency anew for each other
# one. With a test among the targets `cargo build` selects what `cargo test` does: the features of test dependencies too.
# The models of tests/loom have loom's own locks, and are built apart.
DEV       := --workspace --exclude pg-loom --features paymentsgate-auth-cli/pages
DEV_BUILD  = $(CARGO) build $(DEV) --test abi
DEV_BIN   := $(CARGO_OUT)/debug
# Every release build is one of these: CARGO without paths of this machine in what it makes.
RELEASE   := CARGO='$(if $(TARGET),$(CURDIR)/scripts/cargo-platform,$(CARGO))' $(CURDIR)/scripts/cargo-release
# `$(call for_target,FOLDER)`: cargo's words for TARGET. `$(call made,FOLDER)`: where the result then is. FOLDER is `/cli` or nothing.
for_target = $(if $(TARGET),--target $(TARGET)) $(if $(TARGET)$(1),--target-dir $(CARGO_OUT)$(TARGET:%=/platforms)$(1))
made       = $(CARGO_OUT)$(if $(TARGET),/platforms$(1)/$(RUST_TARGET),$(1))

# Of TARGET, as Debian names them on every machine, for scripts/static-archive; and what must be there before anything is built for TARGET.
BINUTIL   := $(firstword $(subst -, ,$(TARGET)))-linux-gnu-
BINUTILS  := $(if $(TARGET),LD=$(BINUTIL)ld OBJCOPY=$(BINUTIL)objcopy AR=$(BINUTIL)ar)
PLATFORM_READY := $(if $(TARGET),setup-platforms build/rust/ready build/venv-wheel/ready)

LIBRARY_SOURCES := build.rs cbindgen.toml Cargo.toml Cargo.lock $(wildcard rust-toolchain.toml) $(call files,src)

# ---- The library

library: $(LIBRARY) ## The library alone

# Without the rlib, which the tests link: beside it rustc skips the link-time optimization of the whole (600 kB, and speed). Another
# build in this folder, as that of a wheel, leaves its library under the same name, which cargo would take for this one.
# `$(call library_and_archive,PROFILE,FOLDER)`
define library_and_archive
	@rm -f $(call made,)/$(2)/deps/$(PLAIN_FILE)
	$(if $(filter release,$(1)),PG_SYMBOL_VERSIONS=1) $(RELEASE) rustc $(call for_target,) --profile $(1) --package paymentsgate-auth --lib --crate-type cdylib,staticlib
	@mkdir -p $(@D)
	$(if $(filter release,$(1)),$(BINUTILS) scripts/static-archive,cp) $(call made,)/$(2)/$(NAME).a $(@D)/$(NAME).a
	@install -m 644 -t $(@D) $(call made,)/$(2)/$(PLAIN_FILE)
	$(if $(filter release,$(1)),@$(BINUTILS) scripts/auditable paymentsgate-auth $(@D)/$(PLAIN_FILE))
endef
RELEASE_LIBRARY := $(CURDIR)/$(FOR)/lib/$(PLAIN_FILE)
$(RELEASE_LIBRARY): $(LIBRARY_SOURCES) scripts/static-archive scripts/auditable abi/exports.txt | setup $(PLATFORM_READY)
	$(call library_and_archive,release,release)

# For another platform with the archive, as cargo makes it, and without what is only read in a debugger.
ifdef TARGET
$(CURDIR)/$(FOR)/dev/lib/$(PLAIN_FILE): export CARGO_PROFILE_DEV_DEBUG := 0
$(CURDIR)/$(FOR)/dev/lib/$(PLAIN_FILE): export CARGO_INCREMENTAL := 0
endif
# By itself, so that its dependencies have the features of the released one: those of other programs are not safe in a fork.
$(CURDIR)/$(FOR)/dev/lib/$(PLAIN_FILE): $(LIBRARY_SOURCES) | setup $(PLATFORM_READY)
	$(call library_and_archive,dev,debug)

# A program in C or Go looks at the headers alone when it is built: it is not built anew for another library behind them.
$(STAGED): $(LIBRARY) $(HEADERS) paymentsgate_auth.pc.in $(wildcard cmake/*.in)
	@$(MAKE) --no-print-directory place DESTDIR= PREFIX=$(STAGE) LIBDIR=$(STAGE)/lib $(MOVABLE)
	@touch $@

# ---- Programs in Rust

# Not of a release, which takes a minute and a half more; what is installed, packaged and measured is.
$(PG_SANDBOX): $(MANIFESTS) $(call files,$(SANDBOX)/src) | setup
	$(DEV_BUILD) --bin pg-sandbox
	@install -D -m 755 $(DEV_BIN)/pg-sandbox $@

# With musl beside the command line: programs have other flags than the library, and in one folder each would undo the other.
SANDBOX_OUT := $(if $(filter %-musl,$(TARGET)),/cli)
$(RELEASE_SANDBOX): $(MANIFESTS) $(call files,$(SANDBOX)/src) | setup $(PLATFORM_READY)
	$(RELEASE) build $(call for_target,$(SANDBOX_OUT)) --release --package pg-sandbox
	@install -D -m 755 $(call made,$(SANDBOX_OUT))/release/pg-sandbox $@
	@$(BINUTILS) scripts/auditable pg-sandbox $@

live: $(LIVE)
$(LIVE): $(MANIFESTS) $(call files,src $(SANDBOX)/src examples/live/src) | setup
	$(DEV_BUILD) --bin paymentsgate-live
	@install -D -m 755 $(DEV_BIN)/paymentsgate-live $@

# The command line links the rlib, so it is built in a folder of its own: in one, each would undo the other.
command: $(COMMAND) build/pages/paymentsgate-auth.1 ## The command line (build/paymentsgate-auth) and its manual pages
$(COMMAND): $(MANIFESTS) $(call files,src cli/src) | setup $(PLATFORM_READY)
	$(RELEASE) build $(call for_target,/cli) --release --package paymentsgate-auth-cli
	@install -D -m 755 $(call made,/cli)/release/paymentsgate-auth $@
	@$(BINUTILS) scripts/auditable paymentsgate-auth-cli $@

# Manual pages, and what shells complete.
build/pages/paymentsgate-auth.1: $(MANIFESTS) $(call files,src cli/src cli/pages) $(SANDBOX)/src/arguments.rs | setup
	$(DEV_BUILD) --bin paymentsgate-auth-pages
	@rm -rf $(@D)
	$(DEV_BIN)/paymentsgate-auth-pages $(@D)
	@touch $@

# ---- Programs in C, C++ and Go against the stage

WARNINGS := -Wall -Wextra -Wpedantic -Werror
LINK      = $$(pkg-config --cflags --libs paymentsgate_auth)
CURL      = $$(pkg-config --cflags --libs libcurl)
# Go's cache knows nothing of a header outside of its packages; this makes it a part of what it knows.
export CGO_CPPFLAGS := -DPG_HEADER_SUM=$(shell cat include/paymentsgate_auth.h | cksum | cut -d ' ' -f 1)

$(OUT)/examples/%_c: examples/c/%.c $(HEADERS) | $(STAGED)
	@mkdir -p $(@D)
	$(CC) -std=c99 -O2 $(WARNINGS) -o $@ $< $(LINK) $(CURL)

$(OUT)/examples/sqlite_store_c: LINK += $$(pkg-config --cflags --libs sqlite3)

$(OUT)/examples/%_cpp: examples/cpp/%.cpp $(HEADERS) | $(STAGED)
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -O2 $(WARNINGS) -o $@ $< $(LINK) $(CURL)

$(OUT)/examples/%_go: $(call files,examples/go) $(BINDING) $(HEADERS) | $(STAGED)
	cd examples/go && go build -o $@ $(if $(filter session,$*),./session,.)
	@touch $@

# ---- Other platforms

# This Rust with the source of its standard library. `ready` is missing if the pinned source has gone.
build/rust/ready: scripts/rust-source
	scripts/rust-source $(@D)
