# SPDX-License-Identifier: BSD-3-Clause
# The host: everything but main() in one archive, which the unit tests link too.

noinst_LTLIBRARIES += core/libcore.la
core_libcore_la_SOURCES = \
	core/advance.c \
	core/advance.h \
	core/answer.c \
	core/ask.c \
	core/ask.h \
	core/calls.c \
	core/calls.h \
	core/clock.c \
	core/clock.h \
	core/command.c \
	core/command.h \
	core/confighw.c \
	core/confighw.h \
	core/coverage.c \
	core/coverage.h \
	core/covfile.c \
	core/control.c \
	core/control.h \
	core/control_private.h \
	core/crash.c \
	core/crash.h \
	core/cross.c \
	core/cross.h \
	core/describe.c \
	core/describe.h \
	core/device.c \
	core/device.h \
	core/dirty.c \
	core/dirty.h \
	core/display.c \
	core/display.h \
	core/dma.c \
	core/dma.h \
	core/dump.c \
	core/dump.h \
	core/extend.c \
	core/extend.h \
	core/fair.c \
	core/fair.h \
	core/fault.c \
	core/fault.h \
	core/feature.c \
	core/feature.h \
	core/filemap.c \
	core/filemap.h \
	core/files.c \
	core/files.h \
	core/follow.c \
	core/follow.h \
	core/frame.c \
	core/frame.h \
	core/guard.c \
	core/guard.h \
	core/hang.c \
	core/hang.h \
	core/heap.c \
	core/heap.h \
	core/hold.c \
	core/hold.h \
	core/host.c \
	core/host.h \
	core/image.c \
	core/image.h \
	core/image_private.h \
	core/imageload.c \
	core/inner.c \
	core/inner.h \
	core/instance.c \
	core/instance.h \
	core/ioevent.c \
	core/ioevent.h \
	core/irq.c \
	core/irq.h \
	core/irq_private.h \
	core/irqimage.c \
	core/lane.c \
	core/lane.h \
	core/log.c \
	core/log.h \
	core/lazy.c \
	core/lazy.h \
	core/loop.c \
	core/loop.h \
	core/migration.c \
	core/migration.h \
	core/options.c \
	core/options.h \
	core/origin.c \
	core/origin.h \
	core/params.c \
	core/params.h \
	core/pci_config.c \
	core/pci_config.h \
	core/pci_config_private.h \
	core/pci_layout.c \
	core/pciname.c \
	core/pciname.h \
	core/plugin.c \
	core/plugin.h \
	core/qmp.c \
	core/qmp.h \
	core/png.c \
	core/png.h \
	core/regbuild.c \
	core/regcell.h \
	core/regcheck.c \
	core/regdump.c \
	core/regdump.h \
	core/regdump_private.h \
	core/regheader.c \
	core/region.c \
	core/region.h \
	core/regionmake.c \
	core/regmap.c \
	core/regmap.h \
	core/regmap_private.h \
	core/regmarkdown.c \
	core/regname.c \
	core/regsvd.c \
	core/regtext.c \
	core/regtext.h \
	core/report.c \
	core/report.h \
	core/regview.c \
	core/regview.h \
	core/reload.c \
	core/reload.h \
	core/screen.c \
	core/screen.h \
	core/server.c \
	core/server.h \
	core/session.c \
	core/session.h \
	core/socketpath.c \
	core/socketpath.h \
	core/spin.c \
	core/spin.h \
	core/sys.h \
	core/stream.c \
	core/stream.h \
	core/stream_private.h \
	core/streamkind.c \
	core/timers.c \
	core/timers.h \
	core/trace.c \
	core/trace.h \
	core/tracefile.c \
	core/tracefile.h \
	core/transfer.c \
	core/transfer.h \
	core/transport.c \
	core/transport.h \
	core/unmodelled.c \
	core/unmodelled.h \
	core/verbs.c \
	core/version.c \
	core/version.h \
	core/vnc.c \
	core/vnc.h \
	core/watch.c \
	core/watch.h \
	core/work.c
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
