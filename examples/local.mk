# SPDX-License-Identifier: BSD-3-Clause
# Device models in Lua, one file each.

EXAMPLES = \
	examples/edu.lua \
	examples/gpio-idio-16.lua \
	examples/hasher.lua \
	examples/testdev.lua
examplesdir = $(datadir)/vfu-host/examples
dist_examples_DATA = $(EXAMPLES)

# In other languages, built by their tests (tests/abi/local.mk).
EXTRA_DIST += examples/cpp/crc32.cpp examples/rust/watchdog.rs
