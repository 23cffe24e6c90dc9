# make demo    runs the main job against the emulator, from every language
# make test    runs all tests of all languages
# Both install or name what the machine lacks (scripts/setup).

PREFIX  ?= /usr/local
DESTDIR ?=
LIBDIR  ?= $(PREFIX)/lib
CARGO   ?= cargo

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
ABI     := $(shell sed -n 's/^const ABI_MAJOR: u32 = \(.*\);/\1/p' build.rs)
NATIVE_LIBS := -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc
TARGET  := $(or $(CARGO_TARGET_DIR),target)
# Everything that is not Rust builds against this tree, as it would against an installed library.
STAGE   := $(CURDIR)/build/stage
SANDBOX := $(CURDIR)/build/pg-sandbox

export PKG_CONFIG_PATH := $(STAGE)/lib/pkgconfig$(if $(PKG_CONFIG_PATH),:$(PKG_CONFIG_PATH))

.PHONY: all build stage setup header install clean
all: build

setup:
	@scripts/setup

library: setup
	$(CARGO) build --release --lib
.PHONY: library

build: library
	@$(MAKE) --no-print-directory install DESTDIR= PREFIX=$(STAGE) LIBDIR=$(STAGE)/lib
	$(CARGO) build --release --package pg-sandbox
	@install -m 755 $(TARGET)/release/pg-sandbox $(SANDBOX)

# Renews include/paymentsgate_auth.h from the sources.
header:
	PG_UPDATE_HEADER=1 $(CARGO) build --lib

install: library
	install -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 644 include/paymentsgate_auth.h include/paymentsgate_auth.hpp $(DESTDIR)$(PREFIX)/include/
	install -m 755 $(TARGET)/release/libpaymentsgate_auth.so $(DESTDIR)$(LIBDIR)/libpaymentsgate_auth.so.$(VERSION)
	ln -sf libpaymentsgate_auth.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libpaymentsgate_auth.so.$(ABI)
	ln -sf libpaymentsgate_auth.so.$(ABI) $(DESTDIR)$(LIBDIR)/libpaymentsgate_auth.so
	install -m 644 $(TARGET)/release/libpaymentsgate_auth.a $(DESTDIR)$(LIBDIR)/
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	    -e 's|@PRIVATE_LIBS@|$(NATIVE_LIBS)|' paymentsgate_auth.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/paymentsgate_auth.pc

clean:
	$(CARGO) clean
	rm -rf build
