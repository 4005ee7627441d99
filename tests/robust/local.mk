# SPDX-License-Identifier: BSD-3-Clause
# What outsiders do to a host process: clients, limits, signals, command lines. Each program starts hosts of its own.

ROBUST_TESTS = \
	tests/robust/test_clients \
	tests/robust/test_limits \
	tests/robust/test_many \
	tests/robust/test_options \
	tests/robust/test_process

RIG = tests/robust/rig.c tests/robust/rig.h
RIG_LIBS = sdk/client/libclient.la $(CMOCKA_LIBS)
tests_robust_test_clients_SOURCES = tests/robust/test_clients.c $(RIG)
tests_robust_test_clients_LDADD = $(RIG_LIBS)
tests_robust_test_limits_SOURCES = tests/robust/test_limits.c $(RIG)
tests_robust_test_limits_LDADD = $(RIG_LIBS)
tests_robust_test_many_SOURCES = tests/robust/test_many.c $(RIG)
tests_robust_test_many_LDADD = $(RIG_LIBS)
tests_robust_test_options_SOURCES = tests/robust/test_options.c $(RIG)
tests_robust_test_options_LDADD = $(RIG_LIBS)
tests_robust_test_process_SOURCES = tests/robust/test_process.c $(RIG)
tests_robust_test_process_LDADD = $(RIG_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += $(ROBUST_TESTS)
TESTS += $(ROBUST_TESTS)
endif
