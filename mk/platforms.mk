# Other platforms than this one. Their standard library is compiled here, so each takes minutes; none is in `make test`.

.PHONY: test-platforms test-macos

test-platforms: test-macos ## All that is built for, or tested on, other platforms

test-macos: build/rust/ready build/venv-wheel/ready ## The library compiles for macOS, and links as far as zig has its libraries
	@scripts/setup macos
	[ ! -e $< ] || tests/macos/run.sh build/rust build/venv-wheel
