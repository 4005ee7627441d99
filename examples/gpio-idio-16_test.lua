-- SPDX-License-Identifier: BSD-3-Clause
-- The card as the Linux driver gpio-pci-idio-16 uses it.
local t = require "vfu.test"

t.test("it is the card", function(dut)
  t.eq(dut.config:u16(0), 0x494f)
  t.eq(dut.config:u16(2), 0x0dc8)
end)

t.test("outputs read back", function(dut)
  dut.regs.OUT_LOW.value, dut.regs.OUT_HIGH.value = 0x5a, 0xa5
  t.eq(dut.regs.OUT_LOW.value, 0x5a)
  t.eq(dut.regs.OUT_HIGH.value, 0xa5)
  t.eq(dut.regs.IN_LOW.value, 0)
end)

t.test("inputs have the levels of the parameter", { params = { inputs = 0x8001 } }, function(dut)
  t.eq(dut.regs.IN_LOW.value, 0x01)
  t.eq(dut.regs.IN_HIGH.value, 0x80)
  dut.regs.IN_LOW.value, dut.regs.IN_HIGH.value = 0xff, 0xff
  t.eq(dut.regs.IN_LOW.value, 0x01)
  t.eq(dut.regs.IN_HIGH.value, 0x80)
end)

t.test("a changed input interrupts", { params = { loopback = true } }, function(dut)
  t.eq(dut.regs.IRQ.value, 0) -- the read enables it
  dut.regs.OUT_LOW.value = 1
  t.ok(dut:wait_irq())
  t.eq(dut.regs.IN_LOW.value, 1)
  t.eq(dut.regs.STATUS.LOW_CHANGED, true)
  t.eq(dut.regs.STATUS.HIGH_CHANGED, false)
  t.eq(dut.regs.STATUS.PENDING, true)
  dut.regs.IN_LOW.value = 0 -- any write clears it
  t.eq(dut.regs.STATUS.value, 0)
  dut.regs.OUT_HIGH.value = 0x80
  t.ok(dut:wait_irq())
  t.eq(dut.regs.STATUS.HIGH_CHANGED, true)
end)

t.test("a disabled interrupt stays quiet", { params = { loopback = true } }, function(dut)
  dut.regs.OUT_LOW.value = 1
  t.eq(dut.regs.STATUS.value, 0)
  t.eq(dut.regs.IRQ.value, 0)
  dut.regs.IRQ.value = 0 -- the write disables it
  dut.regs.OUT_LOW.value = 2
  t.eq(dut.regs.IN_LOW.value, 2)
  t.eq(dut:irq_count(), 0)
end)

t.test("input 15 blinks", { params = { blink = 0.001 } }, function(dut)
  t.eq(dut.regs.IRQ.value, 0)
  t.ok(dut:wait_irq(0, 5))
  t.eq(dut.regs.STATUS.HIGH_CHANGED, true)
end)

t.test("a reset turns the interrupt off", { params = { loopback = true } }, function(dut)
  t.eq(dut.regs.IRQ.value, 0)
  dut.regs.OUT_LOW.value = 1
  dut:reset()
  t.eq(dut.regs.STATUS.value, 0)
  t.eq(dut.regs.OUT_LOW.value, 0)
  dut.regs.OUT_LOW.value = 4
  t.eq(dut.regs.STATUS.value, 0)
end)
