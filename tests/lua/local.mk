# SPDX-License-Identifier: BSD-3-Clause
# Tests of the Lua binding. They are added to check_PROGRAMS and TESTS. They hold the binding itself rather than load it,
# so that a sanitizer sees all of it.

LUA_TESTS = tests/lua/test_api tests/lua/test_cover tests/lua/test_eval tests/lua/test_ffi tests/lua/test_load tests/lua/test_run

LUA_SCRIPT_TESTS = tests/lua/devices.test tests/lua/modules.test tests/lua/wrap.test
EXTRA_DIST += $(LUA_SCRIPT_TESTS) \
	tests/lua/devices/calls.lua tests/lua/devices/calls_test.lua \
	tests/lua/devices/chains.lua tests/lua/devices/chains_test.lua \
	tests/lua/devices/dropped.lua tests/lua/devices/dropped_test.lua tests/lua/devices/level.lua \
	tests/lua/devices/picture.lua tests/lua/devices/picture_test.lua \
	tests/lua/devices/waiting.lua tests/lua/devices/waiting_test.lua \
	tests/lua/devices/wrapper.lua tests/lua/devices/wrapper_test.lua

lua_tests_sources = tests/lua/fake.c tests/lua/fake.h $(lua_lua_la_SOURCES)
lua_tests_cflags = $(AM_CFLAGS) $(LUA_CFLAGS) $(FFI_CFLAGS) $(CMOCKA_CFLAGS)
lua_tests_ldadd = core/libcore.la $(LUA_LIBS) $(FFI_LIBS) $(CMOCKA_LIBS) $(VFU_LIBS)

tests_lua_test_api_SOURCES = tests/lua/test_api.c $(lua_tests_sources)
tests_lua_test_api_CFLAGS = $(lua_tests_cflags)
tests_lua_test_api_LDADD = $(lua_tests_ldadd)
tests_lua_test_cover_SOURCES = tests/lua/test_cover.c
tests_lua_test_cover_LDADD = $(CMOCKA_LIBS)
tests_lua_test_eval_SOURCES = tests/lua/test_eval.c $(lua_tests_sources)
tests_lua_test_eval_CFLAGS = $(lua_tests_cflags)
tests_lua_test_eval_LDADD = $(lua_tests_ldadd)
tests_lua_test_ffi_SOURCES = tests/lua/test_ffi.c $(lua_tests_sources)
tests_lua_test_ffi_CFLAGS = $(lua_tests_cflags)
tests_lua_test_ffi_LDADD = $(lua_tests_ldadd)
tests_lua_test_load_SOURCES = tests/lua/test_load.c $(lua_tests_sources)
tests_lua_test_load_CFLAGS = $(lua_tests_cflags)
tests_lua_test_load_LDADD = $(lua_tests_ldadd)
tests_lua_test_run_SOURCES = tests/lua/test_run.c $(lua_tests_sources)
tests_lua_test_run_CFLAGS = $(lua_tests_cflags)
tests_lua_test_run_LDADD = $(lua_tests_ldadd)

if HAVE_CMOCKA
check_PROGRAMS += $(LUA_TESTS)
TESTS += $(LUA_TESTS) $(LUA_SCRIPT_TESTS)
endif
