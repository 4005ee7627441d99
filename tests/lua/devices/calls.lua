-- SPDX-License-Identifier: BSD-3-Clause
-- Calls of the API that are a script's mistake, one for each value that is written to TRY.
local vfu = require "vfu"
local flag = vfu.flag

local dev = vfu.device("calls", {
  pci = { vendor = 0x1234, device = 0x0001, intx = true, msix = 2 },
  state = { list = {} },
  dma = true,
})

dev:bar(0, { size = 64 }, {
  vfu.reg("TRY", 0x00, 4),
  vfu.reg("ARRAY", 0x10, 4, { count = 2, flag("F", 0) }),
})

local tries = {
  function(self) self:report("x", {}, 5) end,
  function(self) self:report("x", {}, "fatal") end,
  function() coroutine.yield() end,
  function(self) self.ARRAY[1].NOPE = true end,
  function(self) error(tostring(self.ARRAY[1])) end,
}

function dev.write:TRY(v) tries[v](self) end
function dev.read:TRY() return 0.5 end

return dev
