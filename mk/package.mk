# What is given to others: a relocatable archive, recipes for Conan and vcpkg, Debian packages, wheels.

.PHONY: dist recipes deb wheel wheel-files setup-packages

DIST    := $(CURDIR)/$(if $(TARGET),$(FOR)/)dist
# The same sources give the same bytes: times are those of the last commit. Not for cargo, which would build anew.
EPOCH    = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),315532800)
HOST    := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
ARCHIVE := paymentsgate-auth-$(VERSION)-$(or $(RUST_TARGET),$(HOST))
UNPACKED := $(FOR)/archive
RECIPES := paymentsgate-auth-$(VERSION)-recipes
# Where users get the archives.
RELEASES ?= https://github.com/paymentsgate-auth/paymentsgate-auth/releases/download/v$(VERSION)
# `$(call pack,FOLDER,NAME)`: what is in the folder under this name, as an archive.
pack     = tar -C $(1) --sort=name --mtime=@$(EPOCH) --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    --format=gnu -cf - $(2) | gzip -9 -n > $@
# The archive and the Debian packages may be made at the same time.
SUMS     = cd $(DIST) && flock . sh -c 'rm -f SHA256SUMS && sha256sum * > SHA256SUMS && ls -l'
RELEASED = $(RELEASE_LIBRARY) $(COMMAND) $(RELEASE_SANDBOX) build/pages/paymentsgate-auth.1 $(HEADERS) \
    $(call files,docs examples cmake bindings/go) paymentsgate_auth.pc.in THIRD-PARTY-NOTICES.txt README.md CHANGELOG.md \
    scripts/repository-links book.toml

dist: $(DIST)/$(ARCHIVE).tar.gz ## All of it as a relocatable archive, with notices and bills of materials
recipes: $(DIST)/$(RECIPES).tar.gz ## Recipes for Conan and vcpkg, which take the archives of this version in dist/ from RELEASES
deb: $(DIST)/.deb ## Debian packages: libpaymentsgate-auth1 and -dev, paymentsgate-auth (the command line and the emulator)

setup-packages: setup
	@scripts/setup packages

$(DIST)/$(ARCHIVE).tar.gz: $(RELEASED) scripts/third-party
	@rm -rf $(UNPACKED) && mkdir -p $(UNPACKED)/$(ARCHIVE) $(DIST)
	@$(MAKE) --no-print-directory PROFILE=release place place-command DESTDIR= PREFIX=$(CURDIR)/$(UNPACKED)/$(ARCHIVE) \
	    LIBDIR=$(CURDIR)/$(UNPACKED)/$(ARCHIVE)/lib $(MOVABLE)
	@$(if $(TARGET),$(BINUTIL))strip --strip-debug --enable-deterministic-archives $(UNPACKED)/$(ARCHIVE)/lib/$(NAME).a
	@cp -R README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT THIRD-PARTY-NOTICES.txt docs examples $(UNPACKED)/$(ARCHIVE)/
	@rm -rf $(UNPACKED)/$(ARCHIVE)/examples/live
	@mkdir $(UNPACKED)/$(ARCHIVE)/bindings && cp -R bindings/go $(UNPACKED)/$(ARCHIVE)/bindings/
	@scripts/repository-links $(UNPACKED)/$(ARCHIVE)
	@for part in paymentsgate-auth paymentsgate-auth-cli pg-sandbox; do \
	    scripts/third-party bill $$part > $(UNPACKED)/$(ARCHIVE)/$$part.cdx.json || exit 1; \
	done
	$(call pack,$(UNPACKED),$(ARCHIVE))
	@$(SUMS)

$(DIST)/$(RECIPES).tar.gz: $(DIST)/$(ARCHIVE).tar.gz $(call files,packaging) scripts/recipes mk/install.mk
	@rm -rf build/recipes
	@scripts/recipes $(VERSION) $(RELEASES) $(DIST) build/recipes/$(RECIPES)
	$(call pack,build/recipes,$(RECIPES))
	@$(SUMS)

# The mark of all packages: their names have the kind of machine in them.
$(DIST)/.deb: $(RELEASED) $(call files,debian) scripts/deb | setup-packages
	scripts/deb $(VERSION) $(EPOCH) $(DIST) $(FOR)/deb $(firstword $(subst -, ,$(TARGET)))
	@touch $@
	@$(SUMS)

# Linked for an old glibc, checked and named by auditwheel, and, if they are for this machine, tried here. Auditwheel takes no name of
# a system that is not this machine's, but finds the oldest one. It does not judge musl here: hatch_build.py names those wheels, and
# tests/platforms looks into them. The wheel has the modes of the folders that auditwheel makes.
WHEEL_TARGET := $(or $(TARGET),$(HOST).2.17)
WHEEL_CARGO  := $(if $(TARGET),$(CURDIR)/scripts/cargo-platform,cargo-zigbuild)
WHEEL_SYSTEM := $(if $(filter %-musl,$(TARGET)),musllinux_1_2,manylinux_$(subst .,_,$(or $(GLIBC),2.17)))_$(firstword $(subst -, ,$(WHEEL_TARGET)))
WHEEL_REPAIR  = $(if $(filter %-musl,$(TARGET)),cp -t $(DIST),\
    $(IN_VENV_WHEEL) SOURCE_DATE_EPOCH=$(EPOCH) auditwheel repair --plat $(if $(TARGET),auto,$(WHEEL_SYSTEM)) --wheel-dir $(DIST)) $(FOR)/wheel-linked/*.whl
IN_VENV_WHEEL = PATH="$(CURDIR)/build/venv-wheel/bin:$$PATH"
wheel: wheel-files $(if $(TARGET),,$(PG_SANDBOX) $(VENV)/ready) ## The Python packages (library, emulator, command line), for glibc 2.17 and newer or for TARGET, in dist/
ifdef TARGET
	@$(SUMS)
else
	PG_WHEEL=$$(ls $(DIST)/paymentsgate_auth-*.whl) $(PYTHON) -m pytest -q -s tests/wheel
endif

wheel-files: build/venv-wheel/ready $(PLATFORM_READY)
	rm -rf $(FOR)/wheel-linked $(DIST)/*.whl
	@mkdir -p $(DIST)
	for part in '$(if $(TARGET),--wheel) .' '--wheel bindings/python-sandbox' '--wheel bindings/python-cli'; do \
	    $(IN_VENV_WHEEL) $(BINUTILS) CARGO=$(WHEEL_CARGO) CARGO_TARGET_DIR=$(abspath $(CARGO_OUT))$(TARGET:%=/platforms) PG_WHEEL_TARGET=$(WHEEL_TARGET) \
	        python -m build --no-isolation --outdir $(FOR)/wheel-linked $$part || exit 1; \
	done
	umask 022; $(WHEEL_REPAIR)
	for wheel in $(DIST)/*.whl; do case $$wheel in *$(WHEEL_SYSTEM)*) ;; *) echo "wheel: $$wheel is not for $(WHEEL_SYSTEM)" >&2; exit 1 ;; esac; done
	$(if $(TARGET),,mv $(FOR)/wheel-linked/*.tar.gz $(DIST))
