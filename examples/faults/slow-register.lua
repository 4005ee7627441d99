-- SPDX-License-Identifier: BSD-3-Clause
-- Writes to one register arrive late, and are counted, as its reads are: vfu-host --plugin slow-register.lua delay=0.01
local vfu = require "vfu"
local inner = vfu.plugin("../edu.lua")

return inner:wrap {
  params = { offset = { 0x04, doc = "of the register in BAR 0" }, delay = { 0.01, min = 0, doc = "seconds" } },
  state = { reads = 0, writes = 0 },
  read = function(self, next, bar, off, size)
    if off == self.params.offset then self.reads = self.reads + 1 end
    return next(bar, off, size)
  end,
  write = function(self, next, bar, off, size, value)
    if off == self.params.offset then
      vfu.sleep(self.params.delay)
      self.writes = self.writes + 1
      vfu.log.info("write %d, after %d reads", self.writes, self.reads)
    end
    return next(bar, off, size, value)
  end,
}
