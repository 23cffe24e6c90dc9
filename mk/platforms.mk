# Other platforms: what builds for them and runs their programs. TARGET says for which one `library`, `wheel`, `dist` and `deb` build.

.PHONY: setup-platforms test-arm64-program test-arm64 test-empty-root test-musl test-musl-arm64 test-macos test-platforms

ARM64 := aarch64-unknown-linux-gnu.2.17

setup-platforms: setup
	@scripts/setup platforms

# `$(call on_platform,COMMAND)`: nothing where the pinned source of the standard library has gone, which its rule then says.
on_platform = [ ! -e build/rust/ready ] || $(1)

# A library without optimization, which is built in minutes.
test-arm64-program: $(PG_SANDBOX) setup-platforms build/rust/ready build/venv-wheel/ready ## A program in C for ARM, under qemu, gets a token
	+$(call on_platform,$(MAKE) --no-print-directory TARGET=$(ARM64) PROFILE=dev $(CURDIR)/build/$(ARM64)/dev/stage/lib/$(SO_FILE))
	@$(call on_platform,scripts/with-sandbox tests/platforms/program.sh $(ARM64) $(CURDIR)/build/$(ARM64)/dev/stage)

# Release builds for ARM, and programs of an ARM Debian under qemu, for which it takes root.
ARM64_MADE := $(CURDIR)/build/$(ARM64)/dist
test-arm64: test-arm64-program $(VENV)/ready ## Wheels, archive and Debian packages for ARM, and programs in C, Go and Python with them in an ARM Debian
	@scripts/setup architectures
	+$(call on_platform,$(MAKE) --no-print-directory TARGET=$(ARM64) wheel dist deb)
	$(call on_platform,PG_TARGET=$(ARM64) PG_MADE=$(ARM64_MADE) $(PYTEST) tests/platforms)
	$(call on_platform,scripts/with-sandbox tests/platforms/arm64.sh $(ARM64_MADE))

# With musl, linked statically, a program needs nothing at all. The trees that programs are built against: of a library without
# optimization; of a release, for the drivers of the table of behaviours; the archive of `make dist`, for all other programs.
MUSL       := x86_64-unknown-linux-musl
MUSL_ARM64 := aarch64-unknown-linux-musl
MUSL_DEV   := $(CURDIR)/build/$(MUSL)/dev/stage
MUSL_STAGE := $(CURDIR)/build/$(MUSL)/stage
# `$(call unpacked,TARGET)`
unpacked    = $(CURDIR)/build/$(1)/archive/paymentsgate-auth-$(VERSION)-$(1)
# `$(call make_musl,TARGET,WORDS)`
make_musl   = $(call on_platform,$(MAKE) --no-print-directory TARGET=$(1) $(2))
# `$(call packaged,TARGET)`: looks into what `make dist wheel` made.
packaged    = $(call on_platform,PG_TARGET=$(1) PG_MADE=$(CURDIR)/build/$(1)/dist $(PYTEST) -k 'not debian' tests/platforms)

test-empty-root: $(STAGED) $(PG_SANDBOX) $(VENV)/ready setup-platforms build/rust/ready build/venv-wheel/ready ## Programs in root folders without anything else, with glibc and musl
	+$(call make_musl,$(MUSL),PROFILE=dev $(MUSL_DEV)/lib/$(SO_FILE))
	PG_PLATFORMS="$(HOST)=$(STAGE) $$($(call on_platform,echo $(MUSL)=$(MUSL_DEV)))" $(PYTEST) -rs $(addprefix tests/empty_root/,test_empty_root.py test_panics.py)

# The emulator of the tests is the static one of the archive. Go gets its words from the environment.
MUSL_CC      = $(CURDIR)/build/venv-wheel/bin/python -m ziglang cc -target x86_64-linux-musl
MUSL_LINK    = -static $$$$(pkg-config --static --cflags --libs paymentsgate_auth)
MUSL_GO      = CC='$(MUSL_CC)' CGO_ENABLED=1 CGO_LDFLAGS=-L$(MUSL_STAGE)/lib \
    GOFLAGS="-tags=pgauth_static,netgo,osusergo '-ldflags=-linkmode=external -extldflags=-static'"
MUSL_DRIVERS = $(addprefix build/$(MUSL)/drivers/,c go)
test-musl: export PG_SANDBOX := $(call unpacked,$(MUSL))/bin/pg-sandbox
test-musl: $(VENV)/ready setup-platforms build/rust/ready build/venv-wheel/ready build/musl/packages ## Archive and wheels for musl, static programs in C and Go, Python, the table of behaviours
	+$(call make_musl,$(MUSL),dist wheel $(MUSL_STAGE)/lib/$(SO_FILE))
	$(call packaged,$(MUSL))
	$(call on_platform,PG_PLATFORMS=$(MUSL)=$(call unpacked,$(MUSL)) $(PYTEST) -rs tests/empty_root)
	$(call on_platform,$(call HAVE,musl) scripts/with-sandbox tests/platforms/musl_python.sh $(CURDIR)/build/$(MUSL)/dist build/musl/python)
	+$(call on_platform,$(MUSL_GO) $(MAKE) --no-print-directory TARGET=$(MUSL) PROFILE=release CC='$(MUSL_CC)' LINK='$(MUSL_LINK)' \
	    $(addprefix $(CURDIR)/,$(MUSL_DRIVERS)))
	$(call on_platform,PG_LANGUAGES='c go' PG_DRIVER_C=$(word 1,$(MUSL_DRIVERS)) PG_DRIVER_GO=$(word 2,$(MUSL_DRIVERS)) \
	    PYTHONPATH=$(HELPERS) $(PYTEST) -o verbosity_subtests=0 tests/behaviours)

# The libc of musl for ARM, which this system has not: the package of Debian that it has for its own. `ready` is missing if that has gone.
MUSL_LIBC := musl_1.2.3-1_arm64.deb
MUSL_HASH := 6ccf2bf0f479b00411cb8e1eeb048e648718170db5d63bbb4bf4a89350b81468
build/musl-arm64/ready:
	@rm -rf $(@D) && mkdir -p $(@D)
	curl --max-time 300 -fsSo $(@D)/package.deb http://deb.debian.org/debian/pool/main/m/musl/$(MUSL_LIBC) || \
	    echo 'musl: Debian no longer has $(MUSL_LIBC): THE SHARED LIBRARY FOR ARM IS NOT TESTED' >&2
	[ ! -e $(@D)/package.deb ] || { echo '$(MUSL_HASH)  $(@D)/package.deb' | sha256sum --check --quiet && \
	    dpkg-deb --extract $(@D)/package.deb $(@D) && touch $@; }

# Under qemu, a program needs no root folder of its kind of machine, or one with the libc of musl.
test-musl-arm64: $(PG_SANDBOX) $(VENV)/ready setup-platforms build/rust/ready build/venv-wheel/ready build/musl-arm64/ready ## Archive and wheels for musl on ARM, static programs in C and Go under qemu
	+$(call make_musl,$(MUSL_ARM64),dist wheel)
	$(call packaged,$(MUSL_ARM64))
	$(call on_platform,PG_PLATFORMS=$(MUSL_ARM64)=$(call unpacked,$(MUSL_ARM64)) $(PYTEST) -rs \
	    -k 'read_only_root or static_program or shared_library or command_line or emulator' tests/empty_root)

test-macos: build/rust/ready build/venv-wheel/ready ## The library compiles for macOS, and links as far as zig has its libraries
	@scripts/setup macos
	[ ! -e $< ] || tests/macos/run.sh build/rust build/venv-wheel

test-platforms: test-arm64 test-musl test-musl-arm64 test-macos ## What is built for other platforms, on each of them
