-- SPDX-License-Identifier: BSD-3-Clause
-- What the edu device does, register by register. plugins/edu/edu_test.lua runs the same for the plugin in C.
local t = require "vfu.test"

local BUFFER = 0x40000 -- where the device's own memory is in the DMA engine's view

local function idle(dut)
  t.eventually(function() return not dut.regs.CMD.RUN end)
end

t.test("identification", function(dut)
  t.eq(dut.config:u16(0), 0x1234)
  t.eq(dut.config:u16(2), 0x11e8)
  t.eq(dut.regs.ID.value, 0x010000ed)
  dut.regs.ID.value = 5
  t.eq(dut.regs.ID.value, 0x010000ed)
end)

t.test("LIVE reads back the complement", function(dut)
  dut.regs.LIVE.value = 0x12345678
  t.eq(dut.regs.LIVE.value, 0xedcba987)
end)

t.test("what is not there reads ones, and so do widths that it lacks", function(dut)
  t.eq(dut:read("bar0", 0x50), 0xffffffff)
  t.eq(dut:read("bar0", 0x08, 1), 0xff)
  t.eq(dut:read("bar0", 0x08, 2), 0xffff)
end)

t.test("factorial raises the interrupt", function(dut)
  dut.regs.STATUS.IRQFACT = true
  dut.regs.FACT.value = 5
  t.ok(dut:wait_irq(0, 1.0))
  t.eq(dut.regs.FACT.value, 120)
  t.eq(dut.regs.IRQ.FACT, true)
end)

t.test("factorial without an interrupt", function(dut)
  dut.regs.FACT.value = 12
  t.eventually(function() return not dut.regs.STATUS.COMPUTING end)
  t.eq(dut.regs.FACT.value, 479001600)
  t.eq(dut:irq_count(), 0)
end)

t.test("factorials are cut to 32 bits", function(dut)
  for n, expected in pairs({ [0] = 1, [1] = 1, [13] = 0x7328cc00, [40] = 0, [0xffffffff] = 0 }) do
    dut.regs.FACT.value = n
    t.eventually(function() return not dut.regs.STATUS.COMPUTING end)
    t.eq(dut.regs.FACT.value, expected, n .. "!")
  end
end)

t.test("RAISE and ACK, by message", function(dut)
  t.eq(dut.irq_kind, "msi")
  dut.regs.RAISE.value = 0x101
  t.ok(dut:wait_irq())
  t.eq(dut.regs.IRQ.value, 0x101)
  dut.regs.RAISE.value = 0x001
  t.eq(dut:irq_count(), 1, "a bit that is set already interrupts no more")
  dut.regs.ACK.value = 0x001
  t.eq(dut.regs.IRQ.value, 0x100)
  dut.regs.RAISE.value = 0x001
  t.eq(dut:irq_count(), 2)
end)

t.test("RAISE and ACK, by pin", { irq = "intx" }, function(dut)
  dut.regs.RAISE.value = 1
  t.ok(dut:wait_irq())
  t.ok(dut:wait_irq(), "it is asserted still")
  dut.regs.ACK.value = 1
  t.ok(dut.config:u16(6) & 8 == 0, "Interrupt Status is clear")
end)

for _, how in ipairs({ "mapped", "by messages" }) do
  t.test("DMA round trip, " .. how, function(dut)
    local mem = dut:memory(0x10000, 4096, { map = how == "mapped" })
    mem:write(0, "hello")
    dut.regs.SRC.value, dut.regs.DST.value, dut.regs.COUNT.value = 0x10000, BUFFER, 5
    dut.regs.CMD.value = 5
    t.ok(dut:wait_irq())
    t.eq(dut.regs.IRQ.DMA, true)
    t.eq(dut.regs.CMD.RUN, false)
    dut.regs.SRC.value, dut.regs.DST.value = BUFFER, 0x10800
    dut.regs.CMD.value = 3
    idle(dut)
    t.eq(mem:read(0x800, 6), "hello\0")
  end)
end

t.test("DMA of memory that is not there ends too", function(dut)
  dut.regs.SRC.value, dut.regs.DST.value, dut.regs.COUNT.value = 0x777000, BUFFER, 64
  dut.regs.CMD.RUN = true
  idle(dut)
  t.match(dut:log(), "guest error")
end)

t.test("DMA outside the device's buffer", function(dut)
  dut:memory(0x10000, 4096)
  for _, place in ipairs({ { BUFFER + 4095, 2 }, { BUFFER - 1, 1 }, { 0, 1 << 40 }, { -1, -1 } }) do
    dut.regs.SRC.value, dut.regs.DST.value, dut.regs.COUNT.value = place[1], 0x10000, place[2]
    dut.regs.CMD.value = 3
    idle(dut)
  end
  t.eq(dut.regs.ID.value, 0x010000ed)
end)

t.test("registers are locked while a transfer runs", function(dut)
  dut:memory(0x10000, 4096)
  dut.regs.SRC.value, dut.regs.DST.value, dut.regs.COUNT.value = 0x10000, BUFFER, 4
  -- both in one message, so that the transfer cannot have ended between
  dut:write_multi({ { "bar0", 0x98, 1, 8 }, { "bar0", 0x90, 99, 8 } })
  t.eq(dut.regs.COUNT.value, 4)
  idle(dut)
  dut.regs.COUNT.value = 99
  t.eq(dut.regs.COUNT.value, 99)
end)

t.test("a reset stops what runs", function(dut)
  dut.regs.STATUS.IRQFACT = true
  dut.regs.LIVE.value = 1
  dut.regs.CMD.RUN = true
  dut:reset()
  t.eq(dut.regs.LIVE.value, 0)
  t.eq(dut.regs.CMD.RUN, false)
  t.eq(dut.regs.STATUS.value, 0)
end)

t.test("a transfer that waits goes on in another device", function(dut)
  dut:memory(0x10000, 4096):write(0, "carried")
  dut.regs.SRC.value, dut.regs.DST.value, dut.regs.COUNT.value = 0x10000, BUFFER, 7
  dut.regs.CMD.RUN = true
  idle(dut)
  dut.regs.FACT.value = 6
  local other = t.device()
  local mem = other:memory(0x20000, 4096)
  other:load(dut:save(true))
  t.eventually(function() return not other.regs.STATUS.COMPUTING end)
  t.eq(other.regs.FACT.value, 720)
  other.regs.SRC.value, other.regs.DST.value = BUFFER, 0x20000
  other.regs.CMD.value = 3
  idle(other)
  t.eq(mem:read(0, 7), "carried")
  t.raises(function() other:load("no state") end, "does not go to STOP")
end)

t.test("a client that comes back finds the device as it was", function(dut)
  dut.regs.LIVE.value = 0
  dut:reconnect()
  t.eq(dut.regs.LIVE.value, 0xffffffff)
end)
