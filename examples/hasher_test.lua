-- SPDX-License-Identifier: BSD-3-Clause
-- Hashes that are known, and memory that is not there.
local t = require "vfu.test"

local MEMORY = 0x100000

local function hash(dut, algorithm, address, length, seed)
  dut.regs.ADDR.value, dut.regs.LEN.value, dut.regs.SEED.value = address, length, seed
  dut.regs.CTRL.value = algorithm == "adler32" and 3 or 1
  t.eventually(function() return not dut.regs.STATUS.BUSY end, 5)
end

for _, how in ipairs({ "mapped", "by messages" }) do
  t.test("the check values, " .. how, function(dut)
    local mem = dut:memory(MEMORY, 4096, { map = how == "mapped" })
    mem:write(100, "123456789")
    hash(dut, "crc32", MEMORY + 100, 9, 0)
    t.eq(dut.regs.HASH.value, 0xcbf43926)
    hash(dut, "adler32", MEMORY + 100, 9, 1)
    t.eq(dut.regs.HASH.value, 0x091e01de)
  end)
end

t.test("in pieces, and in one of many chunks", function(dut)
  local mem = dut:memory(MEMORY, 1 << 20)
  mem:fill(0xa5)
  hash(dut, "crc32", MEMORY, 1 << 20, 0)
  local whole = dut.regs.HASH.value
  hash(dut, "crc32", MEMORY, 70001, 0)
  hash(dut, "crc32", MEMORY + 70001, (1 << 20) - 70001, dut.regs.HASH.value)
  t.eq(dut.regs.HASH.value, whole)
end)

t.test("nothing hashes to the seed", function(dut)
  hash(dut, "crc32", 0, 0, 0x1234)
  t.eq(dut.regs.HASH.value, 0x1234)
  t.eq(dut.regs.STATUS.FAULT, false)
end)

t.test("the interrupt", function(dut)
  dut.regs.IRQ_ENABLE.DONE = true
  dut.regs.CTRL.GO = true
  t.ok(dut:wait_irq())
  t.eq(dut.regs.IRQ.DONE, true)
  dut.regs.IRQ.DONE = true
  t.eq(dut.regs.IRQ.DONE, false)
end)

t.test("memory that is not there", function(dut)
  dut:memory(MEMORY, 4096)
  hash(dut, "crc32", MEMORY, 4096, 7)
  local good = dut.regs.HASH.value
  hash(dut, "crc32", MEMORY, 4097, 7)
  t.eq(dut.regs.STATUS.FAULT, true)
  t.eq(dut.regs.HASH.value, good, "the last result stays")
  t.eq(dut.regs.IRQ.DONE, true)
  t.match(dut:log(), "guest error")
end)
