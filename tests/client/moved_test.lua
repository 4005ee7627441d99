-- SPDX-License-Identifier: BSD-3-Clause
-- Devices that are stopped in the middle of something and go on in another process, where the test beside them is a
-- student's or a reader's: the lab's, and that of the tutorial.
local t = require "vfu.test"

-- Another one of the kind, which has taken the state of a stopped one; its time is the test's own.
local function continue(dut, mem)
  local other = t.device()
  other:advance(0)
  if mem then other:memory(0x10000, 4096):write(0, mem) end
  other:load(dut:save(true))
  return other
end

t.device("../../examples/lab/digest.lua")

t.test("digest: words in the FIFO", function(dut)
  t.advance(0)
  dut.regs.ENABLE.DRAINED = true
  dut.regs.CTRL.RUN = true
  for i = 1, 3 do dut.regs.DATA.value = i end
  t.advance(1e-6)
  t.eq(dut.regs.COUNT.value, 4)
  local other = continue(dut)
  t.eq(other.regs.STATUS.LEVEL, 2)
  other:advance(1e-6)
  t.eq(other.regs.COUNT.value, 8)
  t.no(other:wait_irq(0, 0))
  other:advance(1e-6)
  t.eq({ other.regs.COUNT.value, other.regs.STATUS.EMPTY }, { 12, true })
  t.ok(other:wait_irq(0))
end)

t.test("digest: a transfer", function(dut)
  t.advance(0)
  dut.regs.ADDR.value, dut.regs.LENGTH.value = 0x10000, 9
  dut.regs.CTRL.GO = true
  t.eq(dut.regs.STATUS.BUSY, true)
  local other = continue(dut, "123456789")
  t.eq(other.regs.STATUS.BUSY, true)
  other:advance(1e-3)
  t.eq({ other.regs.COUNT.value, other.regs.STATUS.BUSY, other.regs.STATUS.FAULT, other.regs.IRQ.DONE }, { 9, false, false, true })
  -- as if it had never moved
  local alone = t.device()
  alone:memory(0x10000, 4096):write(0, "123456789")
  alone.regs.ADDR.value, alone.regs.LENGTH.value = 0x10000, 9
  alone.regs.CTRL.GO = true
  t.eventually(function() return alone.regs.IRQ.DONE end)
  t.eq(other.regs.RESULT.value, alone.regs.RESULT.value)
end)

t.device("../../examples/tutorial/5-dma.lua")

-- It takes no time: what it was asked for, and an interrupt that nobody has taken yet.
t.test("the tutorial's adder", function(dut)
  dut:memory(0x10000, 4096)
  dut.regs.ADDR.value, dut.regs.LENGTH.value = 0x10000, 4
  dut.regs.START.value = 1
  t.eventually(function() return dut.regs.IRQ.DONE end)
  local other = continue(dut, "\1\2\3\4")
  t.eq({ other.regs.SUM.value, other.regs.IRQ.DONE, other.regs.LENGTH.value }, { 0, true, 4 })
  other.regs.ENABLE.DONE = true
  t.ok(other:wait_irq(0))
  other.regs.START.value = 1
  t.eventually(function() return other.regs.SUM.value == 10 end)
end)
