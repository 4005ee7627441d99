-- @NAME@_test - uses the device as a driver would; no virtual machine needed: vfu-client test @NAME@_test.lua. Each test gets
-- a device of its own, just started. dut.regs.NAME.value and dut.regs.NAME.FIELD are accesses of the bus.
local t = require "vfu.test"

t.test("nothing rings at first", function(dut)
  t.eq(dut.config:u16(0), 0x1234)
  t.eq(dut.regs.STATUS.RANG, false)
  t.eq(dut:irq_count(), 0)
end)

t.test("the alarm goes off, and interrupts until it is taken back", function(dut)
  dut.regs.DELAY.value = 1000
  t.ok(dut:wait_irq(0, 5))
  t.eq(dut.regs.STATUS.RANG, true)
  t.eq(dut.regs.COUNT.value, 1)
  t.eq(dut.config:u16(6) >> 3 & 1, 1, "the interrupt status bit of PCI")
  dut.regs.STATUS.RANG = true -- writing 1 clears it
  t.eq(dut.regs.STATUS.RANG, false)
  t.eq(dut.config:u16(6) >> 3 & 1, 0, "the interrupt status bit of PCI")
end)

t.test("an alarm is stopped", function(dut)
  dut.regs.DELAY.value = 1000000000
  dut.regs.DELAY.value = 0
  t.eq(dut.regs.STATUS.RANG, false)
end)

t.test("COUNT is for reading, and a reset clears it", function(dut)
  dut.regs.COUNT.value = 7
  t.eq(dut.regs.COUNT.value, 0)
  dut.regs.DELAY.value = 1
  t.ok(dut:wait_irq(0, 5))
  t.eq(dut.regs.COUNT.value, 1)
  dut:reset()
  t.eq(dut.regs.COUNT.value, 0)
end)
