-- SPDX-License-Identifier: BSD-3-Clause
-- What the stock driver does, and what the data sheet says beside that. Time is the test's: ten minutes are soon over.
local t = require "vfu.test"

local TICK = 32768 * 30e-9
local MINUTE = math.ceil(60 / TICK)

local function open(dut)
  dut.regs.RELOAD.value = 0x80
  dut.regs.RELOAD.value = 0x86
end

local function preload(dut, first, second)
  open(dut)
  dut.regs.PRELOAD1.value = first
  open(dut)
  dut.regs.PRELOAD2.value = second or first
end

local function kick(dut)
  open(dut)
  dut.regs.RELOAD.value = 0x100
end

-- The driver's own beginning: no interrupt, both stages of a minute, then on.
local function begin(dut)
  dut.config:u16(0x60, 3)
  dut.config:u8(0x68, 0)
  preload(dut, MINUTE)
  kick(dut)
  dut.config:u8(0x68, 2)
end

local function reports(dut, words)
  local n = 0
  for _ in dut:log():gmatch("report: expired" .. words) do n = n + 1 end
  return n
end

t.test("it is the device", function(dut)
  t.eq(dut.config:u32(0), 0x25ab8086)
  t.eq(dut.regs.PRELOAD1.value, 0xfffff)
  t.eq(dut.regs.PRELOAD2.value, 0xfffff)
  t.eq(dut.regs.RELOAD.value, 0)
end)

t.test("a preload register takes what is written after the sequence, once", function(dut)
  dut.regs.PRELOAD1.value = 5
  t.eq(dut.regs.PRELOAD1.value, 0xfffff)
  dut.regs.RELOAD.value = 0x86
  dut.regs.RELOAD.value = 0x80
  dut.regs.PRELOAD1.value = 5
  t.eq(dut.regs.PRELOAD1.value, 0xfffff, "the keys in the wrong order")
  open(dut)
  dut.regs.PRELOAD1.value = 0xfff00005
  t.eq(dut.regs.PRELOAD1.value, 5, "20 bits")
  dut.regs.PRELOAD1.value = 6
  t.eq(dut.regs.PRELOAD1.value, 5, "it is locked again")
  open(dut)
  dut.regs.RELOAD.value = 0
  dut.regs.PRELOAD1.value = 6
  t.eq(dut.regs.PRELOAD1.value, 5, "the one write was another")
end)

t.test("who kicks in time hears nothing", function(dut)
  begin(dut)
  for _ = 1, 10 do
    t.advance(59)
    kick(dut)
  end
  t.eq(reports(dut, ""), 0)
  t.eq(dut.regs.STATUS.value, 0)
end)

t.test("who stops is told of in two stages", { params = { fatal = false } }, function(dut)
  begin(dut)
  t.advance(59)
  t.eq(reports(dut, ""), 0, "it takes a minute")
  t.advance(2)
  t.eq(reports(dut, " interrupt=off stage=1"), 1)
  t.eq(dut.regs.STATUS.STAGE1, true)
  t.eq(dut.regs.RELOAD.TIMEOUT, false)
  t.advance(60)
  t.eq(reports(dut, " output=true stage=2"), 1)
  t.eq(dut.regs.RELOAD.TIMEOUT, true)
  t.advance(600)
  t.eq(reports(dut, ""), 2, "it stands until a reset")
end)

t.test("a kick in the second stage begins again with the first", function(dut)
  begin(dut)
  t.advance(100)
  t.eq(reports(dut, " interrupt=off stage=1"), 1)
  kick(dut)
  t.advance(59)
  t.eq(reports(dut, ""), 1)
  t.advance(2)
  t.eq(reports(dut, " interrupt=off stage=1"), 2)
  t.eq(dut.regs.RELOAD.TIMEOUT, false)
end)

t.test("TIMEOUT outlives a reset, and goes when it is cleared", { params = { fatal = false } }, function(dut)
  begin(dut)
  t.advance(600)
  dut:reset()
  t.eq(dut.regs.RELOAD.value, 0x200)
  t.eq(dut.config:u8(0x68), 0)
  t.eq(dut.regs.PRELOAD1.value, 0xfffff)
  dut.regs.RELOAD.value = 0x200
  t.eq(dut.regs.RELOAD.value, 0x200, "not without the keys")
  open(dut)
  dut.regs.RELOAD.value = 0x300
  t.eq(dut.regs.RELOAD.value, 0)
  begin(dut)
  t.advance(119)
  t.eq(reports(dut, " output=true stage=2"), 1, "it works as before")
  t.advance(2)
  t.eq(reports(dut, " output=true stage=2"), 2)
end)

t.test("a reset stops it", function(dut)
  begin(dut)
  dut:reset()
  t.advance(6000)
  t.eq(reports(dut, ""), 0)
end)

t.test("so does ENABLE", function(dut)
  begin(dut)
  dut.config:u8(0x68, 0)
  t.advance(6000)
  t.eq(reports(dut, ""), 0)
end)

t.test("the lock holds until a reset", function(dut)
  begin(dut)
  dut.config:u8(0x68, 3)
  dut.config:u8(0x68, 0)
  t.eq(dut.config:u8(0x68), 3)
  t.advance(61)
  t.eq(reports(dut, " interrupt=off stage=1"), 1)
  dut:reset()
  dut.config:u8(0x68, 2)
  dut.config:u8(0x68, 0)
  t.eq(dut.config:u8(0x68), 0)
end)

t.test("the fast clock", function(dut)
  t.advance(0) -- from here on time is the test's, however slow the machine
  dut.config:u16(0x60, 7)
  preload(dut, 1000000)
  dut.config:u8(0x68, 2)
  t.advance(0.959)
  t.eq(reports(dut, ""), 0)
  t.advance(0.002)
  t.eq(reports(dut, " interrupt=off stage=1"), 1)
end)

t.test("a preload is taken with its stage", function(dut)
  begin(dut)
  preload(dut, 1, 2 * MINUTE)
  t.advance(59)
  t.eq(reports(dut, ""), 0, "the first stage has begun already")
  t.advance(2)
  t.eq(reports(dut, ""), 1)
  t.advance(118)
  t.eq(reports(dut, ""), 1, "the second had not")
  t.advance(2)
  t.eq(reports(dut, ""), 2)
end)

t.test("the first stage interrupts, where it is told to", { irq = "intx" }, function(dut)
  begin(dut)
  dut.config:u16(0x60, 0)
  t.advance(61)
  t.ok(dut:wait_irq())
  t.match(dut:log(), "interrupt=irq stage=1")
  dut.regs.STATUS.value = 1
  t.eq(dut.regs.STATUS.value, 0)
  t.ok(dut.config:u16(6) & 8 == 0, "Interrupt Status is clear")
end)

t.test("an SMI is none that PCI has", { irq = "intx" }, function(dut)
  begin(dut)
  dut.config:u16(0x60, 2)
  t.advance(61)
  t.eq(dut:irq_count(), 0)
  t.match(dut:log(), "interrupt=smi stage=1")
end)

t.test("without its output it tells, and that is all", function(dut)
  begin(dut)
  dut.config:u16(0x60, 0x23)
  t.advance(600)
  t.match(dut:log(), "report: expired output=false stage=2")
  t.eq(dut.regs.RELOAD.TIMEOUT, true)
end)

t.test("free-running has one stage and no end", function(dut)
  dut.config:u16(0x60, 3)
  preload(dut, 0)
  dut.config:u8(0x68, 6)
  t.advance(10)
  t.eq(reports(dut, ""), 0)
  t.eq(dut.regs.STATUS.value, 0)
  t.eq(dut.regs.RELOAD.TIMEOUT, false)
end)

t.test("a preload of 0 ends at once", { params = { fatal = false } }, function(dut)
  preload(dut, 0)
  dut.config:u8(0x68, 2)
  t.eventually(function() return dut.regs.RELOAD.TIMEOUT end)
end)

t.test("it moves in the middle of its time, and a kick there counts", function(dut)
  local other = t.device("i6300esb.lua")
  t.advance(0, other)
  begin(dut)
  t.advance(30)
  other:load(dut:save(true))
  t.eq(other.config:u8(0x68), 2)
  t.advance(20, other)
  kick(other)
  t.advance(59, other)
  t.eq(reports(other, ""), 0)
  t.advance(2, other)
  t.eq(reports(other, " interrupt=off stage=1"), 1)
end)

t.test("action=none keeps it to itself", { params = { action = "none" } }, function(dut)
  begin(dut)
  t.advance(600)
  t.eq(reports(dut, ""), 0)
  t.eq(dut.regs.RELOAD.TIMEOUT, true)
end)

t.test("nobody to be reset: the report is not fatal, and QEMU is left alone", {
  params = { action = "reset", qmp = "unix:/nonexistent/qmp" },
}, function(dut)
  begin(dut)
  t.advance(61)
  t.eq(reports(dut, " interrupt=off stage=1"), 1)
end)
