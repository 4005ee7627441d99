# SPDX-License-Identifier: BSD-3-Clause
# The host: everything but main() in one archive, which the unit tests link too.

noinst_LTLIBRARIES += core/libcore.la

# Room by room: a room includes what stands above it here. But device.h, which holds a whole device, is known to plugin/
# and inspect/, too, and watch.h, by which a device is watched, to pci/.

# base/: the loop, its timers, logging, faults: what knows nothing of devices
CORE_BASE = \
	core/base/clock.c \
	core/base/clock.h \
	core/base/crash.c \
	core/base/crash.h \
	core/base/fault.c \
	core/base/fault.h \
	core/base/files.c \
	core/base/files.h \
	core/base/heap.c \
	core/base/heap.h \
	core/base/lazy.c \
	core/base/lazy.h \
	core/base/log.c \
	core/base/log.h \
	core/base/loop.c \
	core/base/loop.h \
	core/base/origin.c \
	core/base/origin.h \
	core/base/sys.h \
	core/base/timers.c \
	core/base/timers.h

# wire/: bytes and descriptors in and out, and what VERSION says
CORE_WIRE = \
	core/wire/socketpath.c \
	core/wire/socketpath.h \
	core/wire/tracefile.c \
	core/wire/tracefile.h \
	core/wire/transport.c \
	core/wire/transport.h \
	core/wire/version.c \
	core/wire/version.h

# regmap/: the register map: building, naming, accessing, printing it
CORE_REGMAP = \
	core/regmap/regbuild.c \
	core/regmap/regcell.h \
	core/regmap/regcheck.c \
	core/regmap/regdump.c \
	core/regmap/regdump.h \
	core/regmap/regdump_private.h \
	core/regmap/regheader.c \
	core/regmap/regmap.c \
	core/regmap/regmap.h \
	core/regmap/regmap_private.h \
	core/regmap/regmarkdown.c \
	core/regmap/regname.c \
	core/regmap/regsvd.c \
	core/regmap/regtext.c \
	core/regmap/regtext.h

# pci/: what a PCI function is made of: regions, config space, interrupts, DMA
CORE_PCI = \
	core/pci/dirty.c \
	core/pci/dirty.h \
	core/pci/dma.c \
	core/pci/dma.h \
	core/pci/filemap.c \
	core/pci/filemap.h \
	core/pci/ioevent.c \
	core/pci/ioevent.h \
	core/pci/irq.c \
	core/pci/irq.h \
	core/pci/irq_private.h \
	core/pci/irqimage.c \
	core/pci/pci_config.c \
	core/pci/pci_config.h \
	core/pci/pci_config_private.h \
	core/pci/pci_layout.c \
	core/pci/pciname.c \
	core/pci/pciname.h \
	core/pci/region.c \
	core/pci/region.h \
	core/pci/regionmake.c \
	core/pci/transfer.c \
	core/pci/transfer.h

# outside/: what a device needs of the outside: streams, displays, QMP, reports
CORE_OUTSIDE = \
	core/outside/display.c \
	core/outside/display.h \
	core/outside/frame.c \
	core/outside/frame.h \
	core/outside/png.c \
	core/outside/png.h \
	core/outside/qmp.c \
	core/outside/qmp.h \
	core/outside/report.c \
	core/outside/report.h \
	core/outside/stream.c \
	core/outside/stream.h \
	core/outside/stream_private.h \
	core/outside/streamkind.c \
	core/outside/vnc.c \
	core/outside/vnc.h

# plugin/: loading plugins, and the function table that they are given
CORE_PLUGIN = \
	core/plugin/calls.c \
	core/plugin/calls.h \
	core/plugin/cross.c \
	core/plugin/cross.h \
	core/plugin/describe.c \
	core/plugin/describe.h \
	core/plugin/extend.c \
	core/plugin/extend.h \
	core/plugin/guard.c \
	core/plugin/guard.h \
	core/plugin/hang.c \
	core/plugin/hang.h \
	core/plugin/host.c \
	core/plugin/host.h \
	core/plugin/inner.c \
	core/plugin/inner.h \
	core/plugin/params.c \
	core/plugin/params.h \
	core/plugin/plugin.c \
	core/plugin/plugin.h \
	core/plugin/work.c

# device/: one device: it holds all of the above; its image, its reload
CORE_DEVICE = \
	core/device/confighw.c \
	core/device/confighw.h \
	core/device/device.c \
	core/device/device.h \
	core/device/fair.c \
	core/device/fair.h \
	core/device/follow.c \
	core/device/follow.h \
	core/device/image.c \
	core/device/image.h \
	core/device/image_private.h \
	core/device/imageload.c \
	core/device/instance.c \
	core/device/instance.h \
	core/device/migration.c \
	core/device/migration.h \
	core/device/reload.c \
	core/device/reload.h

# inspect/: looking into a device: control socket, breaks, coverage, traces
CORE_INSPECT = \
	core/inspect/advance.c \
	core/inspect/advance.h \
	core/inspect/answer.c \
	core/inspect/ask.c \
	core/inspect/ask.h \
	core/inspect/control.c \
	core/inspect/control.h \
	core/inspect/control_private.h \
	core/inspect/coverage.c \
	core/inspect/coverage.h \
	core/inspect/covfile.c \
	core/inspect/hold.c \
	core/inspect/hold.h \
	core/inspect/regview.c \
	core/inspect/regview.h \
	core/inspect/screen.c \
	core/inspect/screen.h \
	core/inspect/spin.c \
	core/inspect/spin.h \
	core/inspect/trace.c \
	core/inspect/trace.h \
	core/inspect/unmodelled.c \
	core/inspect/unmodelled.h \
	core/inspect/verbs.c \
	core/inspect/watch.c \
	core/inspect/watch.h

# session/: one client: a handler for each command
CORE_SESSION = \
	core/session/command.c \
	core/session/command.h \
	core/session/feature.c \
	core/session/feature.h \
	core/session/lane.c \
	core/session/lane.h \
	core/session/server.c \
	core/session/server.h \
	core/session/session.c \
	core/session/session.h

core_libcore_la_SOURCES = $(CORE_BASE) $(CORE_WIRE) $(CORE_REGMAP) $(CORE_PCI) $(CORE_OUTSIDE) $(CORE_PLUGIN) \
	$(CORE_DEVICE) $(CORE_INSPECT) $(CORE_SESSION) \
	core/dump.c \
	core/dump.h \
	core/options.c \
	core/options.h
core_libcore_la_CFLAGS = $(AM_CFLAGS) $(PNG_CFLAGS) $(VNC_CFLAGS)
core_libcore_la_CPPFLAGS = $(AM_CPPFLAGS) -DVFU_PLUGIN_DIR='"$(plugindir)"'
core_libcore_la_LIBADD = $(JANSSON_LIBS) $(VFU_LIBS)

bin_PROGRAMS += vfu-host
vfu_host_SOURCES = core/main.c core/skeleton.c core/skeleton.h
nodist_vfu_host_SOURCES = core/templates.c
vfu_host_LDADD = core/libcore.la

# What vfu-host --new writes: one folder for each language, and "common".
SKELETON_FILES = \
	sdk/templates/c/Makefile \
	sdk/templates/c/README.md \
	sdk/templates/c/device.c \
	sdk/templates/common/device_test.lua \
	sdk/templates/cpp/Makefile \
	sdk/templates/cpp/README.md \
	sdk/templates/cpp/device.cpp \
	sdk/templates/lua/Makefile \
	sdk/templates/lua/README.md \
	sdk/templates/lua/device.lua \
	sdk/templates/rust/Makefile \
	sdk/templates/rust/README.md \
	sdk/templates/rust/device.rs \
	sdk/templates/rust/vfu.rs
EXTRA_DIST += $(SKELETON_FILES) sdk/templates/embed.sh
CLEANFILES += core/templates.c
core/templates.c: $(SKELETON_FILES) sdk/templates/embed.sh
	$(AM_V_GEN)$(MKDIR_P) core && (cd $(srcdir) && sh sdk/templates/embed.sh $(SKELETON_FILES)) > $@.tmp && mv $@.tmp $@
