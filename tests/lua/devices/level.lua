-- SPDX-License-Identifier: BSD-3-Clause
-- What is written to LEVEL is the level register, of which one bit may rise as another falls.
local vfu = require "vfu"

local dev = vfu.device("level", {
  pci = { vendor = 0x1234, device = 0x0001, intx = true },
  irq = { level = "STATUS" },
})

dev:bar(0, { size = 16 }, { vfu.reg("LEVEL", 0x00, 4), vfu.reg("STATUS", 0x04, 4, "ro") })

function dev.write:LEVEL(v) self.STATUS.value = v end

return dev
