# SPDX-License-Identifier: BSD-3-Clause
# Tests of the SDK as its users meet it: the ABI's promise, skeletons, build systems, examples in other languages.
# They bring their own compilers, and skip what is not installed.

ABI_TESTS = \
	tests/abi/build.test \
	tests/abi/header.test \
	tests/abi/plugins.test \
	tests/abi/skeleton.test \
	examples/cpp/crc32.test \
	examples/rust/watchdog.test
EXTRA_DIST += \
	$(ABI_TESTS) \
	tests/abi/header.awk \
	tests/abi/larger.c \
	tests/abi/layout.awk \
	tests/abi/layout.c \
	tests/abi/layout.h \
	tests/abi/layout.rs \
	tests/abi/make.sh \
	tests/abi/released/1.0/alarm-x86_64.so \
	tests/abi/released/1.0/alarm.c \
	tests/abi/released/1.0/include/vfu/plugin.h \
	tests/abi/released/README.md \
	tests/abi/rust.awk \
	tests/abi/smaller.c \
	tests/abi/update.sh \
	tests/abi/vfu-plugin.abi

if HAVE_CMOCKA
TESTS += $(ABI_TESTS)
endif
