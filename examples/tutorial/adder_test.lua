-- SPDX-License-Identifier: BSD-3-Clause
local t = require "vfu.test"

local MEMORY, SIZE = 0x10000, 4096
local mem

t.before(function(dut)
  mem = dut:memory(MEMORY, SIZE)
  mem:fill(3)
  dut.regs.ENABLE.DONE = true
end)

-- Starts the adding, waits for the interrupt and acknowledges it.
local function add(dut, address, length)
  dut.regs.ADDR.value, dut.regs.LENGTH.value = address, length
  dut.regs.START.value = 1
  t.ok(dut:wait_irq(0, 1.0))
  dut.regs.IRQ.DONE = true
  t.eq(dut.regs.IRQ.value, 0)
end

t.test("it adds up bytes", function(dut)
  add(dut, MEMORY, SIZE)
  t.eq(dut.regs.SUM.value, 3 * SIZE)
  add(dut, MEMORY + 5, 1)
  t.eq(dut.regs.SUM.value, 3)
  add(dut, MEMORY, 0)
  t.eq(dut.regs.SUM.value, 0)
  t.eq(dut.regs.STATUS.ERROR, false)
end)

t.test("memory that is not there is an error", function(dut)
  add(dut, MEMORY + SIZE, 1)
  t.eq(dut.regs.STATUS.ERROR, true)
  add(dut, MEMORY, 0xffffffff)
  t.eq(dut.regs.STATUS.ERROR, true)
  add(dut, MEMORY, 1)
  t.eq(dut.regs.STATUS.ERROR, false)
end)
