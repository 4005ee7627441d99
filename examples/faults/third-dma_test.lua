-- SPDX-License-Identifier: BSD-3-Clause
-- The third DMA, and only that one, leaves guest memory and the device's buffer as they were.
local t = require "vfu.test"

t.test("the third DMA is lost, the others arrive", function(dut)
  local mem = dut:memory(0x10000, 4096)
  local regs = dut.regs
  for round = 1, 4 do
    mem:write(0, ("round %d"):format(round))
    regs.SRC.value, regs.DST.value, regs.COUNT.value = 0x10000, 0x40000, 7 -- into the device's buffer
    regs.CMD.value = 1
    t.advance(0.001)
    t.eq(regs.CMD.RUN, false)
    regs.SRC.value, regs.DST.value = 0x40000, 0x10100 -- and back
    mem:write(0x100, "nothing")
    regs.CMD.value = 3
    t.advance(0.001)
    -- the third of all is the way in of the second round
    t.eq(mem:read(0x100, 7), round == 2 and "round 1" or ("round %d"):format(round))
  end
end)

t.test("a stopped device goes on counting elsewhere", function(dut)
  dut:memory(0x10000, 4096):write(0, "first")
  local regs = dut.regs
  t.advance(0)
  regs.SRC.value, regs.DST.value, regs.COUNT.value = 0x10000, 0x40000, 5
  for _ = 1, 2 do
    regs.CMD.value = 1
    t.advance(0.001)
  end
  regs.CMD.value = 1 -- the third, on its way
  local other = t.device()
  other:memory(0x10000, 4096):write(0, "third")
  other:advance(0)
  other:load(dut:save(true))
  other:advance(0.001)
  t.eq(other.regs.CMD.RUN, false)
  t.match(other:log(), "guest error: DMA read")
  t.eq(other:eval("self.count"), "3")
  other.regs.CMD.value = 1 -- the fourth arrives
  other:advance(0.001)
  t.eq(other:eval("self.count"), "4")
end)
