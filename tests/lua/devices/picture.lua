-- SPDX-License-Identifier: BSD-3-Clause
-- Shows a buffer, which a reload takes away.
local vfu = require "vfu"

local dev = vfu.device("picture", {
  pci = { vendor = 0x1234, device = 0x0001 },
  state = { pixels = vfu.buffer(64 * 64 * 4) },
})
local screen = vfu.display()

dev:bar(0, { size = 16 }, { vfu.reg("SHOW", 0x00, 4), vfu.reg("CHANGED", 0x04, 4) })

local function result(ok, err) return ok and 1 or err == "nothing is shown" and 2 or 3 end

function dev.write:SHOW() return result(screen:show { memory = self.pixels, width = 64, height = 64 }) end
function dev.write:CHANGED() return result(screen:changed()) end

return dev
