# Other platforms: what builds for them and runs their programs. TARGET says for which one `library`, `wheel`, `dist` and `deb` build.

.PHONY: setup-platforms test-arm64-program test-arm64 test-platforms

ARM64 := aarch64-unknown-linux-gnu.2.17

setup-platforms: setup
	@scripts/setup platforms

# `$(call on_platform,COMMAND)`: nothing where the pinned source of the standard library has gone, which its rule then says.
on_platform = [ ! -e build/rust/ready ] || $(1)

# A library without optimization, which is built in minutes.
test-arm64-program: $(PG_SANDBOX) setup-platforms build/rust/ready build/venv-wheel/ready ## A program in C for ARM, under qemu, gets a token
	+$(call on_platform,$(MAKE) --no-print-directory TARGET=$(ARM64) PROFILE=dev $(CURDIR)/build/$(ARM64)/dev/stage/lib/$(NAME).so.$(SO))
	@$(call on_platform,scripts/with-sandbox tests/platforms/program.sh $(ARM64) $(CURDIR)/build/$(ARM64)/dev/stage)

# Release builds for ARM, and half an hour under qemu; root for a Debian of its own.
ARM64_MADE := $(CURDIR)/build/$(ARM64)/dist
test-arm64: $(PG_SANDBOX) $(VENV)/ready setup-platforms build/rust/ready ## What an ARM user does with wheels, archive and Debian packages, under qemu
	@scripts/setup architectures
	+$(call on_platform,$(MAKE) --no-print-directory TARGET=$(ARM64) wheel dist deb)
	$(call on_platform,PG_TARGET=$(ARM64) PG_MADE=$(ARM64_MADE) $(PYTEST) tests/platforms)
	$(call on_platform,scripts/with-sandbox tests/platforms/arm64.sh $(ARM64_MADE))

test-platforms: test-arm64 ## What is built for other platforms, on each of them
