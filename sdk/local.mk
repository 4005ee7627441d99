# SPDX-License-Identifier: BSD-3-Clause
# What a device author installs: headers, pkg-config files, the client library and vfu-client.

vfudir = $(includedir)/vfu
vfu_HEADERS = \
	sdk/include/vfu/client.h \
	sdk/include/vfu/plugin.h \
	sdk/include/vfu/protocol.h \
	sdk/include/vfu/virtio.h \
	sdk/include/vfu/virtio_chain.h \
	sdk/include/vfu/virtio_model.h \
	sdk/include/vfu/virtio_pci.h \
	sdk/include/vfu/virtio_ring.h \
	sdk/include/vfu/virtio_state.h \
	sdk/include/vfu/wrap.h

# One set of objects for the shared library and for vfu-client, which so runs without it. Only vfuc_* is exported.
noinst_LTLIBRARIES += sdk/client/libclient.la
sdk_client_libclient_la_SOURCES = \
	sdk/client/access.c \
	sdk/client/bell.c \
	sdk/client/call.c \
	sdk/client/conn.c \
	sdk/client/conn.h \
	sdk/client/control.c \
	sdk/client/device.c \
	sdk/client/dirty.c \
	sdk/client/hello.c \
	sdk/client/intr.c \
	sdk/client/map.c \
	sdk/client/memory.c \
	sdk/client/raw.c \
	sdk/client/state.c \
	sdk/client/spawn.c \
	sdk/client/wire.c
sdk_client_libclient_la_CFLAGS = $(AM_CFLAGS) -fvisibility=default
sdk_client_libclient_la_LIBADD = $(JANSSON_LIBS) $(VFU_LIBS)

lib_LTLIBRARIES += libvfu-client.la
libvfu_client_la_SOURCES =
libvfu_client_la_LIBADD = sdk/client/libclient.la
libvfu_client_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 -export-symbols-regex '^vfuc_'

bin_PROGRAMS += vfu-client
vfu_client_SOURCES = \
	sdk/client/actors.c \
	sdk/client/cli.h \
	sdk/client/hammer.c \
	sdk/client/hammer.h \
	sdk/client/intruders.c \
	sdk/client/live.c \
	sdk/client/live.h \
	sdk/client/lua.h \
	sdk/client/luaconn.c \
	sdk/client/luajson.c \
	sdk/client/luastate.c \
	sdk/client/main.c \
	sdk/client/measure.c \
	sdk/client/move.c \
	sdk/client/pcicap.c \
	sdk/client/show.c \
	sdk/client/show.h \
	sdk/client/testcover.c \
	sdk/client/testfile.c \
	sdk/client/testjson.c \
	sdk/client/testjunit.c \
	sdk/client/testrun.c \
	sdk/client/testrun.h \
	sdk/client/testshow.c \
	sdk/client/text.c \
	sdk/client/text.h
vfu_client_CFLAGS = $(AM_CFLAGS) $(LUA_CFLAGS)
vfu_client_LDADD = sdk/client/libclient.la core/libcore.la $(LUA_LIBS) $(JANSSON_LIBS)

# The modules of testers' scripts, inside the program: the bytes of NAME.lua, to be included between the braces of an array.
SUFFIXES += .lua .lua.h
.lua.lua.h:
	$(AM_V_GEN)$(MKDIR_P) $(@D) && od -An -v -tx1 $< | $(SED) 's/[0-9a-f][0-9a-f]/0x&,/g' > $@.tmp && mv $@.tmp $@
CLIENT_MODULES = sdk/lua/module/client.lua sdk/lua/module/test.lua
EXTRA_DIST += $(CLIENT_MODULES)
CLIENT_MODULE_BYTES = sdk/lua/module/client.lua.h sdk/lua/module/test.lua.h
CLEANFILES += $(CLIENT_MODULE_BYTES)
sdk/client/vfu_client-luastate.$(OBJEXT): $(CLIENT_MODULE_BYTES)

pkgconfigdir = $(libdir)/pkgconfig
pkgconfig_DATA = sdk/pkgconfig/vfu-plugin.pc sdk/pkgconfig/vfu-client.pc

aclocaldir = $(datadir)/aclocal
dist_aclocal_DATA = sdk/vfu-plugin.m4

# For people who look at a trace of vfu-host --trace.
wiresharkdir = $(datadir)/vfu-host/wireshark
dist_wireshark_DATA = sdk/wireshark/vfio-user.lua
