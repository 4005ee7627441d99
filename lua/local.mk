# SPDX-License-Identifier: BSD-3-Clause
# The Lua binding: a plugin of the public ABI, and the Lua modules it carries inside.

plugin_LTLIBRARIES += lua/lua.la
lua_lua_la_SOURCES = \
	lua/access.c \
	lua/binding.h \
	lua/budget.c \
	lua/buffer.c \
	lua/chain.c \
	lua/config.c \
	lua/crc.c \
	lua/declare.c \
	lua/device.c \
	lua/display.c \
	lua/dma.c \
	lua/doorbell.c \
	lua/entry.c \
	lua/eval.c \
	lua/event.c \
	lua/ffi_callback.c \
	lua/ffi_ccall.c \
	lua/ffi_cdata.c \
	lua/ffi_cdecl.c \
	lua/ffi_cdef.c \
	lua/ffi_cexpr.c \
	lua/ffi_clib.c \
	lua/ffi_conv.c \
	lua/ffi_ctype.c \
	lua/ffi_lex.c \
	lua/ffi_module.c \
	lua/ffi_private.h \
	lua/grant.c \
	lua/hooks.c \
	lua/irq.c \
	lua/load.c \
	lua/log.c \
	lua/map.c \
	lua/object.c \
	lua/params.c \
	lua/qmp.c \
	lua/report.c \
	lua/stream.c \
	lua/sandbox.c \
	lua/save.c \
	lua/state.c \
	lua/task.c \
	lua/util.c \
	lua/virtio.c \
	lua/virtio_private.h \
	lua/wrap.c \
	lua/wrap_private.h \
	lua/wrapdma.c \
	lua/wraphook.c
nodist_lua_lua_la_SOURCES =
lua_lua_la_CFLAGS = $(AM_CFLAGS) $(LUA_CFLAGS) $(FFI_CFLAGS)
lua_lua_la_LIBADD = $(LUA_LIBS) $(FFI_LIBS) $(JANSSON_LIBS) $(VFU_LIBS)
lua_lua_la_LDFLAGS = $(MODULE_LDFLAGS)

# Modules that scripts require: lua/vfu/NAME.lua is "vfu.NAME". Installed beside the binding; in the build tree they are
# where the binding of that tree looks for them. A script's own file of that name comes first.
LUA_MODULES =
luamoduledir = $(plugindir)/lua/vfu
dist_luamodule_DATA = $(LUA_MODULES)
noinst_DATA += lua/vfu.stamp
CLEANFILES += lua/vfu.stamp
lua/vfu.stamp: $(LUA_MODULES) Makefile
	$(AM_V_GEN)$(MKDIR_P) lua/vfu && for module in $(LUA_MODULES); do \
		cmp -s $(srcdir)/$$module $$module || cp $(srcdir)/$$module $$module || exit 1; done && : >$@
clean-local: clean-modules
clean-modules:
	test . = '$(srcdir)' || rm -rf lua/vfu
.PHONY: clean-modules
