-- SPDX-License-Identifier: BSD-3-Clause
-- The third DMA of a device fails, as if its memory were not there: vfu-host --plugin third-dma.lua nth=3
local vfu = require "vfu"
local inner = vfu.plugin("../edu.lua")

return inner:wrap {
  params = { nth = { 3, min = 1, doc = "which DMA fails" } },
  state = { count = 0 },
  dma_read = function(self, next, addr, len)
    self.count = self.count + 1
    if self.count == self.params.nth then return nil, "EFAULT" end
    return next(addr, len)
  end,
  dma_write = function(self, next, addr, data)
    self.count = self.count + 1
    if self.count == self.params.nth then return nil, "EFAULT" end
    return next(addr, data)
  end,
}
