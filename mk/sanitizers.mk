# The tests with threads under ThreadSanitizer. Not in `make test`: all that they use is compiled anew, which takes ten minutes of
# processor time, and the standard library too, whose source build/rust has.

.PHONY: test-tsan

soak: test-tsan

TSAN_HOST = $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')

# Optimized a little, or the tests take hours. The profile is that of development, so the standard library checks itself too.
TSAN_TESTS ?= session session_machine store_custom store_file store_file_sessions store_redis
TSAN_CARGO  = PATH="$(CURDIR)/build/rust/bin:$$PATH" RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=thread \
    CARGO_UNSTABLE_BUILD_STD=std,panic_unwind CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_TARGET_DIR=$(CURDIR)/build/tsan \
    $(CARGO) test --target $(TSAN_HOST) --package paymentsgate-auth --lib $(addprefix --test ,$(TSAN_TESTS))

# ThreadSanitizer has no threads in a child of a process with threads, and the second test writes to the server with another
# program, which must be faster than the session. The third puts another file under the number of a descriptor, from which
# ThreadSanitizer concludes orders and races.
TSAN_SKIPS = --skip a_forked_child_opens_its_own_connection --skip a_broken_record_is_set_aside_and_replaced \
    --skip a_sleep_ends_although_the_timer_was_taken_away

# The library, and the runtimes of the sanitizers.
TSAN_BUILT = build/tsan/$(TSAN_HOST)/debug/deps build/rust/lib/rustlib/$(TSAN_HOST)/lib

test-tsan: export TSAN_OPTIONS := suppressions=$(CURDIR)/tests/sanitizers/tsan.supp

# Without the source of the standard library nothing is run, and the making of build/rust says so.
test-tsan: build/rust/ready $(PG_SANDBOX) $(STAGED) $(VENV)/ready ## Rust's tests, threads in C, and the bindings of Python and Go under ThreadSanitizer; ONLY=NAME for some of Rust's
	[ ! -e $< ] || $(TSAN_CARGO) -- $(TSAN_SKIPS) $(ONLY)
	[ ! -e $< ] || tests/sanitizers/threads.sh $(TSAN_BUILT)
	[ ! -e $< ] || tests/sanitizers/bindings.sh $(TSAN_BUILT) $(PYTHON)
