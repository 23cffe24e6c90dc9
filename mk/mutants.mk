# Mutation testing: the code that decides is changed in one place at a time, and a test must notice. Not in `make test`: hours.

.PHONY: mutants

soak: mutants

# A folder for each version, so that another one is installed when this number changes. Minutes of compilation, once.
MUTANTS_VERSION := 27.1.0
MUTANTS := build/tools/cargo-mutants-$(MUTANTS_VERSION)

$(MUTANTS)/bin/cargo-mutants: | setup
	$(CARGO) install --quiet --locked --debug --root $(MUTANTS) cargo-mutants --version $(MUTANTS_VERSION)

mutants: $(MUTANTS)/bin/cargo-mutants ## Changes of the code that decides, one at a time: each must fail a test; ROOM=src/expiry.rs for one file or folder, SAMPLE=0/16 for each sixteenth
	SAMPLE="$(SAMPLE)" PATH="$(CURDIR)/$(MUTANTS)/bin:$$PATH" scripts/mutants $(ROOM)
