# SPDX-License-Identifier: BSD-3-Clause
# Tests. "make check" runs all that need no virtual machine, "make check-guest" those that boot one.
#
# A new unit test is one line in UNIT_TESTS: its source is tests/unit/NAME.c, and it is linked with LDADD.

TEST_EXTENSIONS = .test
# The thread sanitizer has each process sleep for a second at its end, if it is not told otherwise.
LOG_DRIVER = $(SHELL) $(top_srcdir)/tests/driver.sh
TEST_LOG_DRIVER = $(SHELL) $(top_srcdir)/tests/driver.sh
AM_TESTS_ENVIRONMENT = \
	VFU_HOST='$(abs_top_builddir)/vfu-host'; export VFU_HOST; \
	VFU_CLIENT='$(abs_top_builddir)/vfu-client'; export VFU_CLIENT; \
	VFU_BUILDDIR='$(abs_top_builddir)'; export VFU_BUILDDIR; \
	VFU_SRCDIR='$(abs_top_srcdir)'; export VFU_SRCDIR; \
	VFU_CC='$(CC)'; export VFU_CC; \
	VFU_SANITIZERS='$(VFU_SANITIZERS)'; export VFU_SANITIZERS; \
	VFU_LISTED_TESTS='$(LISTED_TESTS)'; export VFU_LISTED_TESTS; \
	VFU_NOT_UNDER_TSAN='$(NOT_UNDER_TSAN)'; export VFU_NOT_UNDER_TSAN; \
	ASAN_OPTIONS=$${ASAN_OPTIONS-detect_leaks=1}; export ASAN_OPTIONS; \
	UBSAN_OPTIONS=$${UBSAN_OPTIONS-print_stacktrace=1}; export UBSAN_OPTIONS; \
	TSAN_OPTIONS=$${TSAN_OPTIONS-atexit_sleep_ms=0}; export TSAN_OPTIONS;

# Tests of memory that goes away: the thread sanitizer loses its way where a signal handler is left by a jump.
NOT_UNDER_TSAN = tests/unit/test_dma tests/unit/test_fault

# All there are, for listed.test: TESTS may have been narrowed on the command line.
LISTED_TESTS = $(UNIT_TESTS) $(PROTOCOL_TESTS) $(SCRIPT_TESTS) $(LUA_TESTS) $(LUA_SCRIPT_TESTS) $(ROBUST_TESTS) $(ABI_TESTS) $(GUEST_TESTS)

LDADD = core/libcore.la $(CMOCKA_LIBS)

SCRIPT_TESTS = \
	tests/client.test \
	tests/bring-up.test \
	tests/filter.test \
	tests/hammer.test \
	tests/lab.test \
	tests/listed.test \
	tests/manual.test \
	tests/protocol/display.test \
	tests/protocol/live.test \
	tests/protocol/vfu-client.test \
	tests/readme.test \
	tests/report.test \
	tests/stream.test \
	tests/testdev.test \
	tests/trace.test \
	tests/tutorial.test

# Of vfu-client test, and with it.
SCRIPT_TESTS += tests/client/control.test tests/client/test.test tests/devices.test

UNIT_TESTS = \
	tests/unit/test_client \
	tests/unit/test_client_bad \
	tests/unit/test_client_control \
	tests/unit/test_client_parts \
	tests/unit/test_coverage \
	tests/unit/test_clock \
	tests/unit/test_describe \
	tests/unit/test_dirty \
	tests/unit/test_display \
	tests/unit/test_dma \
	tests/unit/test_extend \
	tests/unit/test_fault \
	tests/unit/test_host \
	tests/unit/test_inner \
	tests/unit/test_ioevent \
	tests/unit/test_irq \
	tests/unit/test_migration \
	tests/unit/test_loop \
	tests/unit/test_origin \
	tests/unit/test_params \
	tests/unit/test_pci_config \
	tests/unit/test_plugin \
	tests/unit/test_qmp \
	tests/unit/test_regcheck \
	tests/unit/test_regdump \
	tests/unit/test_region \
	tests/unit/test_report \
	tests/unit/test_regmap \
	tests/unit/test_reload \
	tests/unit/test_stream \
	tests/unit/test_svd \
	tests/unit/test_spawn \
	tests/unit/test_timers \
	tests/unit/test_tracefile \
	tests/unit/test_transfer \
	tests/unit/test_transport \
	tests/unit/test_version \
	tests/unit/test_virtio \
	tests/unit/test_virtio_smp

# What test_plugin loads. The rpath, which is never used, makes libtool build a shared object that is not installed.
TEST_MODULES = tests/unit/no_plugin.la tests/unit/odd_plugin.la
tests_unit_no_plugin_la_SOURCES = tests/unit/no_plugin.c
tests_unit_no_plugin_la_LDFLAGS = $(VFU_LDFLAGS) -module -avoid-version -shared -rpath /nowhere
tests_unit_odd_plugin_la_SOURCES = tests/unit/odd_plugin.c
tests_unit_odd_plugin_la_LDFLAGS = $(MODULE_LDFLAGS) -rpath /nowhere
EXTRA_tests_unit_test_plugin_DEPENDENCIES = $(TEST_MODULES)
EXTRA_tests_unit_test_host_DEPENDENCIES = $(TEST_MODULES)
EXTRA_tests_unit_test_clock_DEPENDENCIES = $(TEST_MODULES)
EXTRA_tests_unit_test_inner_DEPENDENCIES = $(TEST_MODULES)
EXTRA_tests_unit_test_reload_DEPENDENCIES = $(TEST_MODULES)
EXTRA_tests_unit_test_qmp_DEPENDENCIES = $(TEST_MODULES)
EXTRA_tests_unit_test_stream_DEPENDENCIES = $(TEST_MODULES)
EXTRA_tests_unit_test_extend_DEPENDENCIES = $(TEST_MODULES)
ODD_HOST = tests/unit/odd_host.c tests/unit/odd_host.h
tests_unit_test_coverage_SOURCES = tests/unit/test_coverage.c $(ODD_HOST)
tests_unit_test_coverage_LDADD = $(LDADD) $(JANSSON_LIBS)
EXTRA_tests_unit_test_coverage_DEPENDENCIES = $(TEST_MODULES)
tests_unit_test_host_SOURCES = tests/unit/test_host.c $(ODD_HOST)
tests_unit_test_stream_SOURCES = tests/unit/test_stream.c $(ODD_HOST)
tests_unit_test_extend_SOURCES = tests/unit/test_extend.c $(ODD_HOST)
tests_unit_test_clock_SOURCES = tests/unit/test_clock.c $(ODD_HOST)
tests_unit_test_qmp_SOURCES = tests/unit/test_qmp.c $(ODD_HOST)
tests_unit_test_inner_SOURCES = tests/unit/test_inner.c $(ODD_HOST)
tests_unit_test_reload_SOURCES = tests/unit/test_reload.c $(ODD_HOST)

# It reads what the host has written.
tests_unit_test_display_LDADD = $(LDADD) $(PNG_LIBS)
tests_unit_test_virtio_SOURCES = tests/unit/test_virtio.c tests/unit/virtio_rig.c tests/unit/virtio_rig.h
tests_unit_test_virtio_smp_SOURCES = tests/unit/test_virtio_smp.c tests/unit/virtio_rig.c tests/unit/virtio_rig.h
PCAPNG = tests/unit/pcapng.c tests/unit/pcapng.h
tests_unit_test_tracefile_SOURCES = tests/unit/test_tracefile.c $(PCAPNG)
tests_unit_test_transport_SOURCES = tests/unit/test_transport.c $(PCAPNG)
tests_unit_test_svd_SOURCES = tests/unit/test_svd.c tests/unit/svd.c tests/unit/svd.h

# Loaded into a host by test_steady, to count what it allocates.
TEST_MODULES += tests/protocol/count.la
tests_protocol_count_la_SOURCES = tests/protocol/count.c tests/protocol/count.h
tests_protocol_count_la_LDFLAGS = $(VFU_LDFLAGS) -module -avoid-version -shared -rpath /nowhere

# Against a host that the test starts. A new table is a file here and a line in cases.c.
PROTOCOL_TESTS = \
	tests/protocol/test_engine \
	tests/protocol/test_filter \
	tests/protocol/test_migrate \
	tests/protocol/test_move \
	tests/protocol/test_protocol \
	tests/protocol/test_steady \
	tests/protocol/test_testdev \
	tests/protocol/test_trace \
	tests/protocol/test_watch \
	tests/protocol/test_wrap
PROTOCOL_CASES = \
	tests/protocol/access.c \
	tests/protocol/cases.c \
	tests/protocol/framing.c \
	tests/protocol/info.c \
	tests/protocol/irqs.c \
	tests/protocol/maps.c \
	tests/protocol/migrate.c \
	tests/protocol/multi.c \
	tests/protocol/proto.h \
	tests/protocol/run.c \
	tests/protocol/version.c
tests_protocol_test_protocol_SOURCES = \
	$(PROTOCOL_CASES) \
	tests/protocol/edu.c \
	tests/protocol/edu.h \
	tests/protocol/host.c \
	tests/protocol/test_protocol.c
tests_protocol_test_protocol_LDADD = sdk/client/libclient.la $(CMOCKA_LIBS)
tests_protocol_test_filter_SOURCES = \
	tests/protocol/host.c \
	tests/protocol/proto.h \
	tests/protocol/test_filter.c
tests_protocol_test_filter_LDADD = sdk/client/libclient.la $(CMOCKA_LIBS)
tests_protocol_test_wrap_SOURCES = \
	tests/protocol/host.c \
	tests/protocol/proto.h \
	tests/protocol/test_wrap.c
tests_protocol_test_wrap_LDADD = sdk/client/libclient.la $(CMOCKA_LIBS)
tests_protocol_test_migrate_SOURCES = \
	tests/protocol/host.c \
	tests/protocol/proto.h \
	tests/protocol/test_migrate.c
tests_protocol_test_migrate_LDADD = sdk/client/libclient.la $(CMOCKA_LIBS)
tests_protocol_test_move_SOURCES = \
	tests/protocol/host.c \
	tests/protocol/proto.h \
	tests/protocol/test_move.c
tests_protocol_test_move_LDADD = sdk/client/libclient.la $(CMOCKA_LIBS)
tests_protocol_test_testdev_SOURCES = \
	tests/protocol/host.c \
	tests/protocol/proto.h \
	tests/protocol/test_testdev.c
tests_protocol_test_testdev_LDADD = sdk/client/libclient.la $(CMOCKA_LIBS)
tests_protocol_test_engine_SOURCES = tests/protocol/test_engine.c tests/robust/rig.c tests/robust/rig.h
tests_protocol_test_engine_LDADD = sdk/client/libclient.la $(CMOCKA_LIBS) $(JANSSON_LIBS)
tests_protocol_test_watch_SOURCES = tests/protocol/test_watch.c tests/robust/rig.c tests/robust/rig.h
tests_protocol_test_watch_LDADD = sdk/client/libclient.la $(CMOCKA_LIBS) $(JANSSON_LIBS)
tests_protocol_test_trace_SOURCES = tests/protocol/test_trace.c tests/robust/rig.c tests/robust/rig.h $(PCAPNG)
tests_protocol_test_trace_LDADD = sdk/client/libclient.la $(CMOCKA_LIBS)
tests_protocol_test_steady_SOURCES = \
	$(PROTOCOL_CASES) \
	tests/protocol/count.h \
	tests/protocol/test_steady.c \
	tests/robust/rig.c \
	tests/robust/rig.h
tests_protocol_test_steady_LDADD = sdk/client/libclient.la $(CMOCKA_LIBS)
EXTRA_tests_protocol_test_steady_DEPENDENCIES = tests/protocol/count.la
tests_unit_test_client_bad_LDADD = $(CMOCKA_LIBS)
tests_unit_test_client_control_LDADD = sdk/client/libclient.la $(CMOCKA_LIBS) $(JANSSON_LIBS)
tests_unit_test_client_parts_LDADD = sdk/client/libclient.la $(CMOCKA_LIBS)
tests_unit_test_client_LDADD = sdk/client/libclient.la $(CMOCKA_LIBS)
tests_unit_test_spawn_LDADD = sdk/client/libclient.la $(CMOCKA_LIBS)

# A control socket of control.test's own.
CLIENT_TOOLS = tests/client/control
tests_client_control_SOURCES = tests/client/control.c
tests_client_control_LDADD = $(JANSSON_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += $(CLIENT_TOOLS)
check_LTLIBRARIES += $(TEST_MODULES)
check_PROGRAMS += $(UNIT_TESTS) $(PROTOCOL_TESTS)
TESTS += $(UNIT_TESTS) $(PROTOCOL_TESTS) $(SCRIPT_TESTS)
else
check-local:
	@echo "The tests need cmocka: install libcmocka-dev and run configure again." >&2; exit 1
endif

GUEST_TESTS = \
	tests/guest/bochs-display.test \
	tests/guest/edu.test \
	tests/guest/endpoint.test \
	tests/guest/gpio-idio-16.test \
	tests/guest/i6300esb.test \
	tests/guest/pvpanic.test \
	tests/guest/serial-16550.test \
	tests/guest/reload.test \
	tests/guest/shelf.test \
	tests/guest/tutorial.test \
	tests/guest/virtio-rng.test \
	tests/guest/virtio.test

GUEST_TOOLS = \
	tests/guest/boot.sh \
	tests/guest/guest.sh \
	tests/guest/mkinitramfs.sh \
	tests/guest/qemu.sh \
	tests/guest/qmp.py \
	tests/guest/picture.py \
	tests/guest/setup.sh \
	tests/guest/bochs-display.guest \
	tests/guest/draw.c \
	tests/guest/edu.c \
	tests/guest/edu.guest \
	tests/guest/endpoint-setup.sh \
	tests/guest/endpoint.c \
	tests/guest/endpoint.guest \
	tests/guest/edge.c \
	tests/guest/gpio-idio-16.guest \
	tests/guest/i6300esb.guest \
	tests/guest/pvpanic.guest \
	tests/guest/serial-16550.guest \
	tests/guest/serial.py \
	tests/guest/reload.guest \
	tests/guest/shelf.guest \
	tests/guest/tutorial.guest \
	tests/guest/virtio-rng.guest \
	tests/guest/virtio.guest

# Devices that stand on the virtio library, and a driver for them; tests/devices.test runs them.
VIRTIO_TESTS = tests/virtio/driver.lua tests/virtio/blk.lua tests/virtio/blk_test.lua tests/virtio/net.lua tests/virtio/net_test.lua

EXTRA_DIST += $(SCRIPT_TESTS) $(VIRTIO_TESTS) $(GUEST_TESTS) $(GUEST_TOOLS) tests/driver.sh tests/summary.sh
EXTRA_DIST += tests/client/moved_test.lua tests/client/names_test.lua tests/client/narrow.lua

# Everything that make check runs, built and not run. A make of its own: "all" is one too, and two at a time would
# build the same archives.
check-programs: all
	+$(MAKE) $(AM_MAKEFLAGS) $(check_PROGRAMS)
.PHONY: check-programs

# One at a time: each boots a virtual machine that takes a core for itself.
check-guest: all
	@+$(MAKE) $(AM_MAKEFLAGS) -j1 check-TESTS TESTS='$(GUEST_TESTS)' TEST_SUITE_LOG=guest-suite.log VFU_TEST_LIMIT=600
.PHONY: check-guest
CLEANFILES += guest-suite.log

# The unit tests, and the hosts of some others, under valgrind: a few minutes.
VALGRIND_TESTS = \
	tests/protocol/test_engine \
	tests/protocol/test_protocol \
	tests/protocol/test_steady \
	tests/protocol/test_migrate \
	$(UNIT_TESTS)
EXTRA_DIST += tests/valgrind.sh
check-valgrind: check-programs
	@$(AM_TESTS_ENVIRONMENT) $(SHELL) $(srcdir)/tests/valgrind.sh $(VALGRIND_TESTS) || { status=$$?; \
		test $$status -eq 77 || exit $$status; echo "SKIP: valgrind"; }
.PHONY: check-valgrind
clean-local: clean-valgrind
clean-valgrind:
	rm -rf valgrind
.PHONY: clean-valgrind
