# Where the parts go: the library with its links, headers, pkg-config and CMake files, the command line, the emulator.

.PHONY: install place place-command uninstall

# In the pkg-config file. With MOVABLE the tree may be moved, as that of `make dist` may.
PC_PREFIX ?= $(PREFIX)
MOVABLE   := PC_PREFIX='$$$${pcfiledir}/../..'
# What a static link needs besides: `cargo rustc --lib --crate-type staticlib -- --print native-static-libs`, without what
# the compiler adds by itself, libc and the one of the two libgcc that fits.
NATIVE_LIBS := -lutil -lrt -lpthread -lm -ldl
MUSL_LIBS   := -lgcc_eh
MACOS_LIBS  := -Wl,-framework,Security -Wl,-framework,CoreFoundation -liconv -lm
STATIC_LIBS  = $(if $(filter Darwin,$(SYSTEM)),$(MACOS_LIBS),$(if $(filter %-musl,$(TARGET)),$(MUSL_LIBS),$(NATIVE_LIBS)))

CMAKE   := $(LIBDIR)/cmake/PaymentsgateAuth
# What the templates of the two package files are filled with.
FILL     = sed -e 's|@PREFIX@|$(PC_PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|' -e 's|@VERSION@|$(VERSION)|' \
    -e 's|@PRIVATE_LIBS@|$(STATIC_LIBS)|' -e 's|@LINK_LIBRARIES@|$(STATIC_LIBS:-l%=%)|' -e 's|@SO_FILE@|$(SO_FILE)|' -e 's|@SONAME@|$(SONAME)|' \
    -e "s|@TO_PREFIX@|$$(realpath -ms --relative-to=$(CMAKE) $(PREFIX))|"

# What the command line is beside the program; Debian has a place of its own for what zsh completes.
SHARE  := $(PREFIX)/share
ZSH    ?= $(SHARE)/zsh/site-functions
EXTRAS  = $(SHARE)/bash-completion/completions/paymentsgate-auth $(SHARE)/fish/vendor_completions.d/paymentsgate-auth.fish \
    $(ZSH)/_paymentsgate-auth

install: library command $(RELEASE_SANDBOX) place place-command ## Installs below PREFIX (/usr/local) what was built

uninstall: ## Removes what `make install` installed
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,paymentsgate-auth pg-sandbox) $(addprefix $(DESTDIR),$(EXTRAS))
	rm -f $(addprefix $(DESTDIR)$(SHARE)/man/man1/,paymentsgate-auth*.1 pg-sandbox.1)
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/include/,paymentsgate_auth.h paymentsgate_auth.hpp)
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,$(SO_FILE) $(ABI_FILE) $(PLAIN_FILE) $(NAME).a pkgconfig/paymentsgate_auth.pc)
	rm -rf $(DESTDIR)$(CMAKE)

# These two install what was built, and build nothing.
place:
	@install -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(CMAKE)
	@install -m 644 include/paymentsgate_auth.h include/paymentsgate_auth.hpp $(DESTDIR)$(PREFIX)/include/
	@install -m 755 $(BUILT)/$(PLAIN_FILE) $(DESTDIR)$(LIBDIR)/$(SO_FILE)
	@ln -sf $(SO_FILE) $(DESTDIR)$(LIBDIR)/$(ABI_FILE)
	@ln -sf $(ABI_FILE) $(DESTDIR)$(LIBDIR)/$(PLAIN_FILE)
	$(if $(wildcard $(BUILT)/$(NAME).a),@install -m 644 $(BUILT)/$(NAME).a $(DESTDIR)$(LIBDIR)/)
	@$(FILL) paymentsgate_auth.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/paymentsgate_auth.pc
	@for part in Config ConfigVersion; do \
	    $(FILL) cmake/PaymentsgateAuth$$part.cmake.in > $(DESTDIR)$(CMAKE)/PaymentsgateAuth$$part.cmake || exit 1; \
	done
	@echo "installed paymentsgate-auth $(VERSION) below $(DESTDIR)$(PREFIX)"

place-command:
	@install -D -m 755 $(COMMAND) $(DESTDIR)$(PREFIX)/bin/paymentsgate-auth
	@install -m 755 $(RELEASE_SANDBOX) $(DESTDIR)$(PREFIX)/bin/pg-sandbox
	@install -d $(DESTDIR)$(SHARE)/man/man1 $(addprefix $(DESTDIR),$(dir $(EXTRAS)))
	@install -m 644 build/pages/*.1 $(DESTDIR)$(SHARE)/man/man1/
	@install -m 644 build/pages/paymentsgate-auth.bash $(DESTDIR)$(word 1,$(EXTRAS))
	@install -m 644 build/pages/paymentsgate-auth.fish $(DESTDIR)$(word 2,$(EXTRAS))
	@install -m 644 build/pages/_paymentsgate-auth $(DESTDIR)$(word 3,$(EXTRAS))
