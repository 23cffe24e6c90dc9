# Fuzzing: libFuzzer with AddressSanitizer, on the Rust that builds the library.

.PHONY: fuzz

FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
# For each target.
FUZZ_SECONDS ?= 60
HOST = $(shell rustc --version --verbose | sed -n 's/^host: //p')
# As cargo-fuzz sets them. The stable toolchain has the sanitizer, and RUSTC_BOOTSTRAP the flag for it.
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address
# A search for leaks after each input, and the entropic choice of inputs, take half of the time of those targets whose library is
# large: so leaks are looked for at the end.
FUZZ_ONE = fuzz/target/$(HOST)/release/$$target -max_total_time=$(FUZZ_SECONDS) -timeout=30 -rss_limit_mb=4096 \
    -detect_leaks=0 -entropic=0 -print_final_stats=1 -artifact_prefix=fuzz/artifacts/$$target/ \
    build/fuzz/corpus/$$target fuzz/corpus/$$target

# Inputs with new coverage are kept in build/fuzz/corpus, and an input that fails in fuzz/artifacts.
fuzz: setup ## Each fuzz target for a minute; FUZZ_SECONDS=600 for longer, ONLY=redis for one
	cp Cargo.lock fuzz/Cargo.lock
	RUSTC_BOOTSTRAP=1 RUSTFLAGS='$(FUZZ_FLAGS)' $(CARGO) build --manifest-path fuzz/Cargo.toml --target-dir fuzz/target --release \
	    --target $(HOST) $(addprefix --bin ,$(ONLY))
	for target in $(or $(ONLY),$(FUZZ_TARGETS)); do \
	    mkdir -p fuzz/artifacts/$$target build/fuzz/corpus/$$target && $(FUZZ_ONE) || exit 1; \
	done
