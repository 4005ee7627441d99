-- SPDX-License-Identifier: BSD-3-Clause
-- What the filter does to the device that it wraps: the plugin edu.
local t = require "vfu.test"

local function transfer(dut)
  dut.regs.SRC.value, dut.regs.DST.value, dut.regs.COUNT.value = 0x10000, 0x40000, 8
  dut.regs.CMD.RUN = true
  t.eventually(function() return not dut.regs.CMD.RUN end, 5)
end

local function errors(dut)
  local _, n = dut:log():gsub("guest error", "")
  return n
end

t.test("without other parameters it is the wrapped device", { params = { plugin = "edu" } }, function(dut)
  t.eq(dut.config:u32(0), 0x11e81234)
  dut.regs.FACT.value = 6
  t.eventually(function() return not dut.regs.STATUS.COMPUTING end)
  t.eq(dut.regs.FACT.value, 720)
end)

t.test("the wrapped device's parameters", { params = { plugin = "edu", ["inner.dma_mask"] = "0xffff" } }, function(dut)
  local mem = dut:memory(0, 4096)
  mem:write(0, "masked")
  dut.regs.SRC.value, dut.regs.DST.value, dut.regs.COUNT.value = 0x10000, 0x40000, 8
  dut.regs.CMD.RUN = true
  t.eventually(function() return not dut.regs.CMD.RUN end, 5)
  t.eq(errors(dut), 0)
end)

t.test("the second DMA fails", { params = { plugin = "edu", fail_nth = 2 } }, function(dut)
  dut:memory(0x10000, 4096)
  transfer(dut)
  t.eq(errors(dut), 0)
  transfer(dut)
  t.eq(errors(dut), 1)
  transfer(dut)
  t.eq(errors(dut), 1)
end)

t.test("every second interrupt is lost", { params = { plugin = "edu", drop_irq = 2 } }, function(dut)
  for i = 1, 6 do
    dut.regs.RAISE.value = 1 << i
    t.ok(dut.regs.IRQ.value & 1 << i ~= 0, "the device's own register is none the wiser")
    t.eq(dut:irq_count(), (i + 1) // 2)
  end
end)
