# SPDX-License-Identifier: BSD-3-Clause
# The Lua binding: a plugin of the public ABI, and the Lua modules it carries inside.

plugin_LTLIBRARIES += lua/lua.la
lua_lua_la_SOURCES = \
	lua/binding.h \
	lua/budget.c \
	lua/buffer.c \
	lua/config.c \
	lua/declare.c \
	lua/device.c \
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
	lua/log.c \
	lua/map.c \
	lua/object.c \
	lua/params.c \
	lua/report.c \
	lua/save.c \
	lua/state.c \
	lua/task.c \
	lua/util.c \
	lua/wrap.c \
	lua/wraphook.c
nodist_lua_lua_la_SOURCES =
lua_lua_la_CFLAGS = $(AM_CFLAGS) $(LUA_CFLAGS) $(FFI_CFLAGS)
lua_lua_la_LIBADD = $(LUA_LIBS) $(FFI_LIBS) $(VFU_LIBS)
lua_lua_la_LDFLAGS = $(MODULE_LDFLAGS)

# lua/NAME.lua becomes lua/NAME.lua.h: its bytes, to be included between the braces of an array.
LUA_MODULES =
EXTRA_DIST += $(LUA_MODULES)
SUFFIXES += .lua .lua.h
.lua.lua.h:
	$(AM_V_GEN)$(MKDIR_P) $(@D) && od -An -v -tx1 $< | $(SED) 's/[0-9a-f][0-9a-f]/0x&,/g' > $@.tmp && mv $@.tmp $@
