# Python's environments, each of one file of requirements.

PIP_INSTALL = -m pip install --quiet --disable-pip-version-check

# `$(eval $(call environment,FOLDER,REQUIREMENTS))`
define environment
$(1)/ready: $(2) | setup
	python3 -m venv $(1)
	$(1)/bin/python $(PIP_INSTALL) -r $(2)
	@touch $$@
endef

# The tests, and what the linters and the documents need; the vendor's own SDK; what a wheel is released with; what is compared;
# what packages are made with.
$(eval $(call environment,$(VENV),tests/requirements.txt))
$(eval $(call environment,build/vendor_sdk,tests/vendor_sdk/requirements.txt))
$(eval $(call environment,build/venv-wheel,bindings/python/release-requirements.txt))
$(eval $(call environment,build/venv-bench,benches/requirements.txt))
$(eval $(call environment,build/venv-packages,tests/packages/requirements.txt))

# Interpreters that this system lacks. `ready` is missing if Debian has another version by now, and no test is played then.
build/musl/ready: | build/venv-wheel/ready
build/pypy/ready build/free-threaded/ready build/musl/ready: build/%/ready: scripts/interpreters | setup
	@scripts/setup interpreters
	scripts/interpreters $* $(@D)

# What the tests there need besides: packages without compiled parts.
build/free-threaded/packages build/musl/packages: build/%/packages: build/%/ready tests/requirements.txt | $(VENV)/ready
	[ ! -e $< ] || $(PYTHON) $(PIP_INSTALL) --upgrade --python-version 3.13 --implementation py --abi none --platform any \
	    --only-binary=:all: --target $$(echo $(@D)/lib/python3.13*)/site-packages $$(grep -E '^(pytest|prometheus-client)==' tests/requirements.txt)
	[ ! -e $< ] || touch $@
