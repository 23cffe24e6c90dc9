# What holds for users of the crate and readers of the code, besides what the tests say.

.PHONY: msrv minimal-versions rustdoc

# The oldest Rust that Cargo.toml names compiles the library.
msrv: setup
	scripts/msrv

# The lowest version of each dependency that Cargo.toml allows compiles it too.
minimal-versions: setup
	scripts/minimal-versions

# The documentation of the crates, of private items too, has no broken link.
rustdoc: setup
	RUSTDOCFLAGS='--deny warnings' $(CARGO) doc --quiet --workspace --no-deps --document-private-items

lint: rustdoc
