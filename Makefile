# make help    what there is
# make demo    the main job against the emulator, from every language
# make check   what a change must pass before it is worth reading, in less than a minute
# make test    all tests of all languages
# All of them first install or name what the machine lacks (scripts/setup) and need nothing done by hand. What has a rule with
# a file name is made again when its sources change, and only then. The rules are in mk/, a file for each noun.

.DEFAULT_GOAL := build
# What is half made when a rule fails would count as made the next time.
.DELETE_ON_ERROR:

# ---- What may be set on the command line

PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
DESTDIR ?=
CARGO   ?= cargo
# The library that the wrappers' tests load. `dev`: without optimization, built in seconds, in build/dev; the release is untouched.
PROFILE ?= release
# One test of test-rust, test-c, test-go, test-python, test-behaviours and the like, as the test runner of each takes it.
ONLY    ?=
# Another platform than this machine's, as cargo-zigbuild names it: aarch64-unknown-linux-gnu.2.17 is 64-bit ARM with glibc 2.17 or newer.
# For `library`, `wheel`, `dist` and `deb`; what they make is then below build/TARGET. Not taken from the environment.
TARGET  :=
# How many programs are built, and how many tests run, side by side in `make test`.
BESIDE  ?= 2

# ---- Names

NAME    := libpaymentsgate_auth
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# The number of the library's file: the ABI, then what was added to it.
SO      := $(shell sed -n '/^\[package.metadata.capi.library\]/,/^version_/s/^version = "\(.*\)"/\1/p' Cargo.toml)
ABI     := $(firstword $(subst ., ,$(SO)))
# The library's file as cargo names it, with the whole number, and as programs look for it; what is written into programs.
SYSTEM  := $(if $(TARGET),$(if $(findstring darwin,$(TARGET)),Darwin,Linux),$(shell uname -s))
ifeq ($(SYSTEM),Darwin)
PLAIN_FILE := $(NAME).dylib
SO_FILE    := $(NAME).$(SO).dylib
ABI_FILE   := $(NAME).$(ABI).dylib
SONAME     := @rpath/$(ABI_FILE)
else
PLAIN_FILE := $(NAME).so
SO_FILE    := $(NAME).so.$(SO)
ABI_FILE   := $(NAME).so.$(ABI)
SONAME     := $(ABI_FILE)
endif
# Cargo's folder; other platforms have one of their own in it, and their Rust.
CARGO_OUT := $(or $(CARGO_TARGET_DIR),target)
# TARGET as Rust names it, and the oldest glibc that it asks for.
RUST_TARGET := $(firstword $(subst ., ,$(TARGET)))
GLIBC   := $(patsubst $(RUST_TARGET).%,%,$(filter $(RUST_TARGET).%,$(TARGET)))
SANDBOX := sandbox

# What is made for TARGET, or for this machine; what a profile makes is in a folder of its own.
FOR     := build$(TARGET:%=/%)
OUT     := $(CURDIR)/$(FOR)$(if $(filter-out release,$(PROFILE)),/$(PROFILE))
# The library as cargo builds it.
BUILT   := $(OUT)/lib
LIBRARY := $(BUILT)/$(PLAIN_FILE)
# C, C++, Python and Go build against this tree, as against an installed library.
STAGE   := $(OUT)/stage
STAGED  := $(STAGE)/lib/$(SO_FILE)
COMMAND := $(FOR)/paymentsgate-auth
RELEASE_SANDBOX := $(CURDIR)/$(FOR)/release/pg-sandbox
LIVE    := build/paymentsgate-live
EXAMPLES := $(addprefix $(OUT)/examples/,issue_refresh_c issue_refresh_cpp issue_refresh_go session_c session_cpp session_go queue_c \
    sqlite_store_c curl_c curl_cpp)
VENV    := $(CURDIR)/build/venv
PYTHON  := $(VENV)/bin/python
export PAYMENTSGATE_AUTH_LIB := $(STAGE)/lib/$(ABI_FILE)
export PKG_CONFIG_PATH       := $(STAGE)/lib/pkgconfig$(if $(PKG_CONFIG_PATH),:$(PKG_CONFIG_PATH))
export LD_LIBRARY_PATH       := $(STAGE)/lib$(if $(LD_LIBRARY_PATH),:$(LD_LIBRARY_PATH))
# The emulator is the same for both profiles.
export PG_SANDBOX            := $(CURDIR)/build/pg-sandbox
# What makes a second build sooner is gigabytes, and CI builds once.
ifdef CI
export CARGO_INCREMENTAL     := 0
endif

# `$(call files,FOLDERS)`: all that is in them, and the folders themselves, which change when a file goes. As `docs/.`: `docs` is a target.
files      = $(shell find $(addsuffix /.,$(1)) -name __pycache__ -prune -o -print 2>/dev/null)
MANIFESTS := Cargo.toml Cargo.lock $(wildcard rust-toolchain.toml */Cargo.toml */*/Cargo.toml)
HEADERS   := $(wildcard include/*.h*)
BINDING   := $(call files,bindings/go)

include $(sort $(wildcard mk/*.mk))

# ---- The story

.PHONY: help build demo check test lint generate setup clean

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST) | sort
	@echo 'PROFILE=dev: the wrappers are tested with a library that is built in seconds. ONLY=NAME: one test. PREFIX, DESTDIR: install.'

build: $(STAGED) $(PG_SANDBOX) ## The library, a tree to build against (build/stage) and the emulator (build/pg-sandbox)

demo: $(STAGED) $(PG_SANDBOX) $(LIVE) $(EXAMPLES) ## The main job against the emulator, from every language
	@PG_LIVE=$(LIVE) PG_EXAMPLES=$(OUT)/examples scripts/with-sandbox scripts/demo

check: format clippy unit drift ## Format, clippy, unit tests, generated files; no release build

# Everything is built first. Then most tests run side by side: each has an emulator and ports of its own, and mostly waits. The
# last ones have the machine to themselves: they judge how soon the library answers, or use every core.
test: test-programs test-beside test-alone ## All tests of all languages
	@echo 'make test: all passed'

lint: format clippy drift lint-licences lint-fork lint-python lint-go ## Format, clippy, generated files, licences, ruff, mypy, gofmt, vet, staticcheck

# Without the header, the pages and the notices made anew `make check` and `make lint` fail.
generate: setup ## Renews what is made from the sources: the header, pages of docs/, the options of Go, the notices, the bill of materials
	PG_UPDATE_HEADER=1 $(DEV_BUILD) --lib
	PG_UPDATE_DOCS=1 $(CARGO) test $(DEV) --test docs
	PG_UPDATE_ABI=1 $(CARGO) test $(DEV) --test abi
	@mkdir -p build
	scripts/third-party notices > build/notices && mv build/notices THIRD-PARTY-NOTICES.txt
	scripts/third-party bill paymentsgate-auth > build/bill && mv build/bill sbom.cdx.json

setup:
	@scripts/setup

clean: ## Removes all that was built
	$(CARGO) clean
	rm -rf build dist fuzz/target
