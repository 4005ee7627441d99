# SPDX-License-Identifier: BSD-3-Clause
# Fuzzers. "make check-fuzz" builds them with a clang of their own flags, in ./fuzz, and runs them for a minute in all
# (FUZZ_SECONDS); without a clang that can, it says so and is left out. tests/fuzz/soak.sh runs one for long.

FUZZ_FILES = \
	tests/fuzz/build.sh \
	tests/fuzz/check.sh \
	tests/fuzz/client.c \
	tests/fuzz/client.h \
	tests/fuzz/control.c \
	tests/fuzz/control.dict \
	tests/fuzz/host.c \
	tests/fuzz/host.h \
	tests/fuzz/image.c \
	tests/fuzz/image.dict \
	tests/fuzz/mutate.c \
	tests/fuzz/ring.c \
	tests/fuzz/ring.dict \
	tests/fuzz/script.h \
	tests/fuzz/seeds.c \
	tests/fuzz/session.c \
	tests/fuzz/session.dict \
	tests/fuzz/soak.sh \
	tests/fuzz/synthetic.c \
	tests/fuzz/template.c \
	tests/fuzz/template.h \
	tests/fuzz/text.c \
	tests/fuzz/text.dict

# The folder: what it holds grows with what is found.
EXTRA_DIST += $(FUZZ_FILES) tests/fuzz/corpus

FUZZ_ENVIRONMENT = \
	srcdir='$(srcdir)'; export srcdir; \
	FUZZ_SOURCES='$(core_libcore_la_SOURCES)'; export FUZZ_SOURCES; \
	JANSSON_CFLAGS='-I$(abs_top_builddir) $(JANSSON_CFLAGS) $(PNG_CFLAGS) $(VNC_CFLAGS)'; export JANSSON_CFLAGS; \
	JANSSON_LIBS='$(JANSSON_LIBS)'; export JANSSON_LIBS; \
	VFU_LIBS='$(VFU_LIBS)'; export VFU_LIBS;

check-fuzz:
	@$(FUZZ_ENVIRONMENT) $(SHELL) $(srcdir)/tests/fuzz/check.sh || { status=$$?; test $$status -eq 77 || exit $$status; \
		echo "SKIP: fuzz"; }

# An hour of the session fuzzer, or SOAK='HARNESS SECONDS JOBS'.
fuzz-soak:
	@$(FUZZ_ENVIRONMENT) $(SHELL) $(srcdir)/tests/fuzz/soak.sh $(SOAK)
.PHONY: check-fuzz fuzz-soak

clean-local: clean-fuzz
clean-fuzz:
	rm -rf fuzz
.PHONY: clean-fuzz
