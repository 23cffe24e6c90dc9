# The documents as a site.

.PHONY: docs c-api setup-docs

PAGES := $(call files,docs) README.md CHANGELOG.md book.toml $(wildcard */README.md */*/README.md)

docs: build/site/index.html ## docs/ as a site in build/site, with the references of C, C++, Python and Go
c-api: build/c-api/index.html

setup-docs: setup
	@scripts/setup docs

# Doxygen's warnings are errors.
build/c-api/index.html: $(HEADERS) scripts/Doxyfile | setup-docs
	@rm -rf build/c-api && mkdir -p build
	doxygen scripts/Doxyfile

# Ends with a check of each link. Python's reference is made from the package, which loads the library.
build/site/index.html: $(PAGES) scripts/repository-links scripts/check-site build/c-api/index.html $(BINDING) \
    $(call files,bindings/python/src) | $(STAGED) $(VENV)/ready
	@rm -rf build/site
	$(VENV)/bin/mdbook build
	cp -R build/c-api build/site/
	PYTHONPATH=bindings/python/src $(PYTHON) -m pdoc --docformat restructuredtext --output-directory build/site/python-api paymentsgate_auth
	@mkdir -p build/site/go-api && cd bindings/go && go doc -all . > $(CURDIR)/build/site/go-api/pgauth.txt
	scripts/check-site build/site || { rm $@; false; }
	@touch $@
