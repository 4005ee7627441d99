-- SPDX-License-Identifier: BSD-3-Clause
local t = require "vfu.test"

t.test("a picture of memory that a reload takes away", function(dut)
  local r = dut.regs
  r.CHANGED.value = 1
  t.eq(r.CHANGED.value, 2)
  for _ = 1, 2 do
    r.SHOW.value = 1
    t.eq(r.SHOW.value, 1)
    r.CHANGED.value = 1
    t.eq(r.CHANGED.value, 1)
    dut:control("reload")
    r.CHANGED.value = 1
    t.eq(r.CHANGED.value, 2)
  end
end)
