# SPDX-License-Identifier: BSD-3-Clause
# What editors and luacheck know of device scripts and of tests, and the manual that is made of it. The order is that of the manual.

LUA_LIBRARY = \
	sdk/lua/library/vfu.lua \
	sdk/lua/library/spec.lua \
	sdk/lua/library/device.lua \
	sdk/lua/library/memory.lua \
	sdk/lua/library/virtio.lua \
	sdk/lua/library/stream.lua \
	sdk/lua/library/wrap.lua \
	sdk/lua/library/ffi.lua \
	sdk/lua/library/client.lua \
	sdk/lua/library/test.lua
lualibrarydir = $(datadir)/vfu-host/lua/library
dist_lualibrary_DATA = $(LUA_LIBRARY)
luasettingsdir = $(datadir)/vfu-host/lua
dist_luasettings_DATA = sdk/lua/luacheckrc
EXTRA_DIST += sdk/lua/reference.lua docs/lua-reference.md docs/tutorial.md

# docs/lua-reference.md, after a change of the definitions; a test says when it is stale. Into the source tree, by hand only.
lua-reference:
	cd '$(srcdir)' && lua5.4 sdk/lua/reference.lua $(LUA_LIBRARY) > docs/lua-reference.md
.PHONY: lua-reference
