# SPDX-License-Identifier: BSD-3-Clause
# Measurements, built and run by "make bench" only: make bench BENCHFLAGS=--quick

EXTRA_PROGRAMS += bench/bench bench/isolate
bench_bench_SOURCES = \
	bench/access.c \
	bench/bare.c \
	bench/bench.c \
	bench/bench.h \
	bench/maps.c \
	bench/messages.c \
	bench/peer.c \
	bench/report.c \
	bench/work.c
bench_bench_LDADD = sdk/client/libclient.la

# The device that it measures with. The rpath, which is never used, makes libtool build a shared object.
EXTRA_LTLIBRARIES = bench/plain.la
bench_plain_la_SOURCES = bench/plain.c bench/bench.h
bench_plain_la_LDFLAGS = $(MODULE_LDFLAGS) -rpath /nowhere
CLEANFILES += bench/plain.la
bench_isolate_SOURCES = bench/isolate.c
bench_isolate_LDADD = sdk/client/libclient.la
EXTRA_DIST += bench/RESULTS.md
CLEANFILES += bench/bench$(EXEEXT) bench/isolate$(EXEEXT)

bench: all
	+$(MAKE) $(AM_MAKEFLAGS) bench/bench$(EXEEXT) bench/plain.la
	VFU_HOST='$(abs_top_builddir)/vfu-host' VFU_BUILDDIR='$(abs_top_builddir)' VFU_SRCDIR='$(abs_top_srcdir)' \
		bench/bench$(EXEEXT) $(BENCHFLAGS)

# What a bad neighbour costs: make isolate BENCHFLAGS=--quick
isolate: all
	+$(MAKE) $(AM_MAKEFLAGS) bench/isolate$(EXEEXT)
	VFU_HOST='$(abs_top_builddir)/vfu-host' VFU_BUILDDIR='$(abs_top_builddir)' bench/isolate$(EXEEXT) $(BENCHFLAGS)
.PHONY: bench isolate

# What Lua costs a device, beside the same device in C: make luabench BENCHFLAGS=--quick
EXTRA_PROGRAMS += bench/luabench
bench_luabench_SOURCES = bench/luabench.c
bench_luabench_LDADD = sdk/client/libclient.la
CLEANFILES += bench/luabench$(EXEEXT)
EXTRA_DIST += bench/garbage.lua

luabench: all
	+$(MAKE) $(AM_MAKEFLAGS) bench/luabench$(EXEEXT)
	VFU_HOST='$(abs_top_builddir)/vfu-host' VFU_BUILDDIR='$(abs_top_builddir)' VFU_SRCDIR='$(abs_top_srcdir)' \
		bench/luabench$(EXEEXT) $(BENCHFLAGS)
.PHONY: luabench

# How soon 200 Lua devices of one command line answer, and what memory each takes: make bench-start BENCHFLAGS=--quick
EXTRA_PROGRAMS += bench/start
bench_start_SOURCES = bench/start.c
bench_start_LDADD = sdk/client/libclient.la
CLEANFILES += bench/start$(EXEEXT)

bench-start: all
	+$(MAKE) $(AM_MAKEFLAGS) bench/start$(EXEEXT)
	VFU_HOST='$(abs_top_builddir)/vfu-host' VFU_SRCDIR='$(abs_top_srcdir)' bench/start$(EXEEXT) $(BENCHFLAGS)
.PHONY: bench-start

# What a device test costs, with a host of its own: make testbench BENCHFLAGS=--quick
EXTRA_DIST += bench/tests.sh
testbench: all
	VFU_HOST='$(abs_top_builddir)/vfu-host' VFU_CLIENT='$(abs_top_builddir)/vfu-client' VFU_SRCDIR='$(abs_top_srcdir)' \
		$(SHELL) $(srcdir)/bench/tests.sh $(BENCHFLAGS)
.PHONY: testbench

# Random bytes in a guest, beside QEMU's own virtio-rng: make guestbench BENCHFLAGS=--quick
EXTRA_DIST += bench/rng.sh bench/rng.guest
guestbench: all
	VFU_HOST='$(abs_top_builddir)/vfu-host' VFU_BUILDDIR='$(abs_top_builddir)' VFU_SRCDIR='$(abs_top_srcdir)' \
		bash $(srcdir)/bench/rng.sh $(BENCHFLAGS)
.PHONY: guestbench
