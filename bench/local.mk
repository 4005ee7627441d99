# SPDX-License-Identifier: BSD-3-Clause
# Measurements, built and run by "make bench" only: make bench BENCHFLAGS=--quick

EXTRA_PROGRAMS += bench/bench
bench_bench_SOURCES = bench/bench.c bench/bench.h bench/peer.c bench/work.c
bench_bench_LDADD = sdk/client/libclient.la
CLEANFILES += bench/bench$(EXEEXT)

bench: all
	+$(MAKE) $(AM_MAKEFLAGS) bench/bench$(EXEEXT)
	VFU_HOST='$(abs_top_builddir)/vfu-host' VFU_BUILDDIR='$(abs_top_builddir)' VFU_SRCDIR='$(abs_top_srcdir)' \
		bench/bench$(EXEEXT) $(BENCHFLAGS)
.PHONY: bench
