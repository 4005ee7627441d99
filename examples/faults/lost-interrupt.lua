-- SPDX-License-Identifier: BSD-3-Clause
-- One interrupt of so many is lost on its way: vfu-host --plugin lost-interrupt.lua every=2
local inner = require "vfu".plugin("../edu.lua")

return inner:wrap {
  params = { every = { 2, min = 1, doc = "which ones are lost; 1: all" } },
  state = { count = 0 },
  raise = function(self, next, vector)
    self.count = self.count + 1
    if self.count % self.params.every == 0 then return end
    return next(vector)
  end,
}
