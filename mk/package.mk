# What is given to others: a relocatable archive, recipes for Conan and vcpkg, Debian packages, wheels.

.PHONY: dist recipes deb wheel setup-packages

DIST    := $(CURDIR)/dist
# The same sources give the same bytes: times are those of the last commit. Not for cargo, which would build anew.
EPOCH    = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),315532800)
HOST    := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
ARCHIVE := paymentsgate-auth-$(VERSION)-$(HOST)
RECIPES := paymentsgate-auth-$(VERSION)-recipes
# Where users get the archives.
RELEASES ?= https://github.com/paymentsgate-auth/paymentsgate-auth/releases/download/v$(VERSION)
# `$(call pack,FOLDER,NAME)`: what is in the folder under this name, as an archive.
pack     = tar -C $(1) --sort=name --mtime=@$(EPOCH) --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    --format=gnu -cf - $(2) | gzip -9 -n > $@
# The archive and the Debian packages may be made at the same time.
SUMS     = cd $(DIST) && flock . sh -c 'rm -f SHA256SUMS && sha256sum * > SHA256SUMS && ls -l'
RELEASED = $(RELEASE_LIBRARY) $(COMMAND) $(RELEASE_SANDBOX) build/pages/paymentsgate-auth.1 $(HEADERS) \
    $(call files,docs examples cmake) paymentsgate_auth.pc.in THIRD-PARTY-NOTICES.txt README.md CHANGELOG.md

dist: $(DIST)/$(ARCHIVE).tar.gz ## All of it as a relocatable archive, with notices and bills of materials
recipes: $(DIST)/$(RECIPES).tar.gz ## Recipes for Conan and vcpkg, which take the archives of this version in dist/ from RELEASES
deb: $(DIST)/.deb ## Debian packages: libpaymentsgate-auth1 and -dev, paymentsgate-auth (the command line and the emulator)

setup-packages: setup
	@scripts/setup packages

$(DIST)/$(ARCHIVE).tar.gz: $(RELEASED) scripts/third-party
	@rm -rf build/dist && mkdir -p build/dist/$(ARCHIVE) $(DIST)
	@$(MAKE) --no-print-directory PROFILE=release place place-command DESTDIR= PREFIX=$(CURDIR)/build/dist/$(ARCHIVE) \
	    LIBDIR=$(CURDIR)/build/dist/$(ARCHIVE)/lib $(MOVABLE)
	@strip --strip-debug --enable-deterministic-archives build/dist/$(ARCHIVE)/lib/$(NAME).a
	@cp -R README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT THIRD-PARTY-NOTICES.txt docs examples build/dist/$(ARCHIVE)/
	@rm -rf build/dist/$(ARCHIVE)/examples/live
	@for part in paymentsgate-auth paymentsgate-auth-cli pg-sandbox; do \
	    scripts/third-party bill $$part > build/dist/$(ARCHIVE)/$$part.cdx.json || exit 1; \
	done
	$(call pack,build/dist,$(ARCHIVE))
	@$(SUMS)

$(DIST)/$(RECIPES).tar.gz: $(DIST)/$(ARCHIVE).tar.gz $(call files,packaging) scripts/recipes mk/install.mk
	@rm -rf build/recipes
	@scripts/recipes $(VERSION) $(RELEASES) $(DIST) build/recipes/$(RECIPES)
	$(call pack,build/recipes,$(RECIPES))
	@$(SUMS)

# The mark of all packages: their names have the kind of machine in them.
$(DIST)/.deb: $(RELEASED) $(call files,debian) scripts/deb | setup-packages
	scripts/deb $(VERSION) $(EPOCH) $(DIST)
	@touch $@
	@$(SUMS)

# Linked for an old glibc, checked and named by auditwheel, and tried here.
WHEEL_GLIBC := 2.17
wheel: $(PG_SANDBOX) build/venv-wheel/ready $(VENV)/ready ## The Python packages (library, emulator, command line), for glibc 2.17 and newer, in dist/
	rm -rf build/wheel-linked $(DIST)/*.whl
	@mkdir -p $(DIST)
	for part in . '--wheel bindings/python-sandbox' '--wheel bindings/python-cli'; do \
	    PATH="$(CURDIR)/build/venv-wheel/bin:$$PATH" CARGO=cargo-zigbuild CARGO_TARGET_DIR=$(abspath $(TARGET)) \
	    PG_WHEEL_TARGET=$$(rustc --print host-tuple).$(WHEEL_GLIBC) \
	        python -m build --no-isolation --outdir build/wheel-linked $$part || exit 1; \
	done
	PATH="$(CURDIR)/build/venv-wheel/bin:$$PATH" \
	    auditwheel repair --plat manylinux_$(subst .,_,$(WHEEL_GLIBC))_$$(uname -m) --wheel-dir dist build/wheel-linked/*.whl
	mv build/wheel-linked/*.tar.gz dist
	PG_WHEEL=$$(ls dist/paymentsgate_auth-*.whl) $(PYTHON) -m pytest -q -s tests/wheel
