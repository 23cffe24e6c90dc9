# Other platforms: what builds for them and runs their programs. TARGET says for which one `library`, `wheel`, `dist` and `deb` build.

.PHONY: setup-platforms test-arm64-program test-arm64 test-macos test-platforms

ARM64 := aarch64-unknown-linux-gnu.2.17

setup-platforms: setup
	@scripts/setup platforms

# `$(call on_platform,COMMAND)`: nothing where the pinned source of the standard library has gone, which its rule then says.
on_platform = [ ! -e build/rust/ready ] || $(1)

# A library without optimization, which is built in minutes.
test-arm64-program: $(PG_SANDBOX) setup-platforms build/rust/ready build/venv-wheel/ready ## A program in C for ARM, under qemu, gets a token
	+$(call on_platform,$(MAKE) --no-print-directory TARGET=$(ARM64) PROFILE=dev $(CURDIR)/build/$(ARM64)/dev/stage/lib/$(SO_FILE))
	@$(call on_platform,scripts/with-sandbox tests/platforms/program.sh $(ARM64) $(CURDIR)/build/$(ARM64)/dev/stage)

# Release builds for ARM, which take minutes.
ARM64_MADE := $(CURDIR)/build/$(ARM64)/dist
test-arm64: test-arm64-program $(VENV)/ready ## Wheels, archive and Debian packages for ARM: names, kind of machine, oldest glibc; a program in C
	+$(call on_platform,$(MAKE) --no-print-directory TARGET=$(ARM64) wheel dist deb)
	$(call on_platform,PG_TARGET=$(ARM64) PG_MADE=$(ARM64_MADE) $(PYTEST) tests/platforms)

test-macos: build/rust/ready build/venv-wheel/ready ## The library compiles for macOS, and links as far as zig has its libraries
	@scripts/setup macos
	[ ! -e $< ] || tests/macos/run.sh build/rust build/venv-wheel

test-platforms: test-arm64 test-macos ## What is built for other platforms, on each of them
