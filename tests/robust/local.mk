# SPDX-License-Identifier: BSD-3-Clause
# What outsiders do to a host process: clients, limits, signals, command lines. Each program starts hosts of its own.

ROBUST_TESTS = \
	tests/robust/test_clients \
	tests/robust/test_faults \
	tests/robust/test_control \
	tests/robust/test_limits \
	tests/robust/test_many \
	tests/robust/test_options \
	tests/robust/test_process \
	tests/robust/test_reload \
	tests/robust/test_storm

RIG = tests/robust/rig.c tests/robust/rig.h
RIG_LIBS = sdk/client/libclient.la $(CMOCKA_LIBS)
tests_robust_test_clients_SOURCES = tests/robust/test_clients.c $(RIG)
tests_robust_test_clients_LDADD = $(RIG_LIBS)
tests_robust_test_faults_SOURCES = tests/robust/test_faults.c $(RIG)
tests_robust_test_faults_LDADD = $(RIG_LIBS)
EXTRA_tests_robust_test_faults_DEPENDENCIES = tests/robust/bad_plugin.la
tests_robust_test_control_SOURCES = tests/robust/test_control.c $(RIG)
tests_robust_test_control_LDADD = $(RIG_LIBS) $(JANSSON_LIBS)
tests_robust_test_limits_SOURCES = tests/robust/test_limits.c $(RIG)
tests_robust_test_limits_LDADD = $(RIG_LIBS)
tests_robust_test_many_SOURCES = tests/robust/test_many.c $(RIG)
tests_robust_test_many_LDADD = $(RIG_LIBS)
tests_robust_test_options_SOURCES = tests/robust/test_options.c $(RIG)
tests_robust_test_options_LDADD = $(RIG_LIBS)
tests_robust_test_process_SOURCES = tests/robust/test_process.c $(RIG)
tests_robust_test_process_LDADD = $(RIG_LIBS)
tests_robust_test_reload_SOURCES = tests/robust/test_reload.c $(RIG)
tests_robust_test_reload_LDADD = $(RIG_LIBS)
tests_robust_test_storm_SOURCES = tests/robust/test_storm.c $(RIG)
tests_robust_test_storm_LDADD = $(RIG_LIBS)

# What test_faults loads.
tests_robust_bad_plugin_la_SOURCES = tests/robust/bad_plugin.c
tests_robust_bad_plugin_la_LDFLAGS = $(MODULE_LDFLAGS) -rpath /nowhere
tests_robust_bad_plugin_la_LIBADD = $(VFU_LIBS)

if HAVE_CMOCKA
check_LTLIBRARIES += tests/robust/bad_plugin.la
check_PROGRAMS += $(ROBUST_TESTS)
TESTS += $(ROBUST_TESTS)
endif
