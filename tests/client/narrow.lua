-- SPDX-License-Identifier: BSD-3-Clause
-- A device for names_test.lua whose regions take narrow accesses only.
local vfu = require "vfu"
local reg, field = vfu.reg, vfu.field

local dev = vfu.device("narrow", { pci = { vendor = 0x1234, device = 0x11ef }, state = { writes = "" } })

dev:bar(0, { size = 4096, sizes = { 4 } }, {
  reg("WIDE", 0x08, 8, "rw", { field("LOW", 0, 32), field("HIGH", 32, 32) }),
  reg("BIG", 0x10, 8, "rw", { big_endian = true }),
  reg("LAST", 0x18, 8, "rw", { commit = "last" }),
  reg("HALF", 0x20, 2, "rw"),
})
dev:bar(2, { size = 256, sizes = { 1, 2 }, unmapped = "error" }, {
  reg("WORD", 0x00, 4, "rw"),
  reg("RING", 0x10, 8, "rw", { count = 2, stride = 8 }),
})

function dev.write:LAST(v) self.writes = self.writes .. ("%x "):format(v) end
function dev.write:WORD(v) self.writes = self.writes .. ("%x "):format(v) end

return dev
