# What holds for users of the crate and readers of the code, besides what the tests say.

.PHONY: msrv minimal-versions rustdoc

msrv: setup ## The oldest Rust that Cargo.toml names compiles the library
	scripts/msrv

minimal-versions: setup ## The lowest versions of the dependencies that Cargo.toml allows compile
	scripts/minimal-versions

rustdoc: setup ## The documentation of the crates, of private items too, has no broken link
	RUSTDOCFLAGS='--deny warnings' $(CARGO) doc --quiet --workspace --no-deps --document-private-items

lint: rustdoc
