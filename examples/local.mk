# SPDX-License-Identifier: BSD-3-Clause
# Device models in Lua, one file each.

EXAMPLES = \
	examples/edu.lua \
	examples/gpio-idio-16.lua \
	examples/testdev.lua
examplesdir = $(datadir)/vfu-host/examples
dist_examples_DATA = $(EXAMPLES)
