# SPDX-License-Identifier: BSD-3-Clause
# Device models as shared objects, one folder each: plugins/NAME/NAME.la. They use the public header and nothing else.

plugin_LTLIBRARIES += plugins/edu/edu.la
plugins_edu_edu_la_SOURCES = plugins/edu/edu.c
plugins_edu_edu_la_LDFLAGS = $(MODULE_LDFLAGS)

plugin_LTLIBRARIES += plugins/null/null.la
plugins_null_null_la_SOURCES = plugins/null/null.c
plugins_null_null_la_LDFLAGS = $(MODULE_LDFLAGS)

plugin_LTLIBRARIES += plugins/memory/memory.la
plugins_memory_memory_la_SOURCES = plugins/memory/memory.c
plugins_memory_memory_la_LDFLAGS = $(MODULE_LDFLAGS)

# Run by tests/devices.test.
EXTRA_DIST += \
	plugins/edu/edu_test.lua \
	plugins/filter/filter_test.lua \
	plugins/memory/memory_test.lua \
	plugins/null/null_test.lua \
	plugins/testdev/testdev_test.lua \
	plugins/virtio-rng/virtio-rng_test.lua
plugin_LTLIBRARIES += plugins/virtio-rng/virtio-rng.la
plugins_virtio_rng_virtio_rng_la_SOURCES = plugins/virtio-rng/rng.c
plugins_virtio_rng_virtio_rng_la_LDFLAGS = $(MODULE_LDFLAGS)

# Wraps another one, and makes things go wrong for it.
plugin_LTLIBRARIES += plugins/filter/filter.la
plugins_filter_filter_la_SOURCES = plugins/filter/filter.c
plugins_filter_filter_la_LDFLAGS = $(MODULE_LDFLAGS)
plugins_filter_filter_la_LIBADD = $(VFU_LIBS)

# The device that the tests are written for.
plugin_LTLIBRARIES += plugins/testdev/testdev.la
plugins_testdev_testdev_la_SOURCES = \
	plugins/testdev/dma.c \
	plugins/testdev/map.c \
	plugins/testdev/testdev.c \
	plugins/testdev/testdev.h
plugins_testdev_testdev_la_LDFLAGS = $(MODULE_LDFLAGS)
