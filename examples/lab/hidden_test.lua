-- SPDX-License-Identifier: BSD-3-Clause
-- The hidden test: students do not see it. "[3]" before a name are its points; ./grade counts them.
--
-- VFU_SUBMISSION is the script to test, the reference if it is not set. Registers are those of the reference, wherever
-- the submission has put its own: what counts is what a driver finds at the offsets of SPEC.md.
local t = require "vfu.test"
local client = require "vfu.client"
local here = debug.getinfo(1, "S").source:match("^@(.*/)[^/]*$") or "./"
local term = dofile(here .. "term.lua")

-- The reference runs once, to tell its map.
local reference = client.spawn(here .. "digest.lua")
local map = reference:map()
reference:stop()

-- Submissions are not read before they run: no native code, and no other device in place of their own.
t.device(os.getenv("VFU_SUBMISSION") or "digest.lua", nil, { map = map, args = { "--deny", "ffi,plugin" } })

local MEMORY = 0x100000
local NS = 1e-9

local function checksum(data, sum)
  sum = sum or 0xffffffff
  for i = 1, #data do
    sum = sum ~ data:byte(i)
    for _ = 1, 8 do sum = sum & 1 == 1 and sum >> 1 ~ term.polynomial or sum >> 1 end
  end
  return sum
end

local function words(n)
  local list = {}
  for i = 1, n do list[i] = i * 0x01030507 & 0xffffffff end
  return list
end

local function push(dut, list) for _, word in ipairs(list) do dut.regs.DATA.value = word end end

local function packed(list)
  local parts = {}
  for i, word in ipairs(list) do parts[i] = string.pack("<I4", word) end
  return table.concat(parts)
end

local function transfer(dut, address, length)
  dut.regs.ADDR.value, dut.regs.LENGTH.value = address, length
  dut.regs.CTRL.GO = true
  t.advance(1e-3)
  t.eventually(function() return not dut.regs.STATUS.BUSY end, 2)
end

t.test("[1] identification", function(dut)
  t.eq(dut.config:u16(0), 0x1234, "vendor")
  t.eq(dut.config:u16(2), term.device, "device")
  t.eq(dut.regs.ID.value, term.id)
end)

t.test("[2] values after a reset, and registers that cannot be written", function(dut)
  dut.regs.INIT.value, dut.regs.LENGTH.value, dut.regs.ENABLE.value = 5, 6, 7
  dut:reset()
  for _, reg in ipairs(map.registers) do
    if reg.region == "bar0" then t.eq(dut.regs[reg.name].value, math.tointeger(tonumber(reg.reset)), reg.name) end
  end
  for _, name in ipairs({ "ID", "STATUS", "RESULT", "COUNT" }) do
    local before = dut.regs[name].value
    dut.regs[name].value = ~before & 0xffffffff
    t.eq(dut.regs[name].value, before, name)
  end
end)

t.test("[1] CLEAR begins with INIT", function(dut)
  dut.regs.INIT.value = 0x12345678
  t.eq(dut.regs.RESULT.value, 0xffffffff)
  dut.regs.CTRL.CLEAR = true
  t.eq(dut.regs.RESULT.value, 0x12345678)
  t.eq(dut.regs.CTRL.CLEAR, false)
end)

t.test("[3] words through the FIFO", function(dut)
  local list = words(term.depth)
  t.advance(0)
  dut.regs.CTRL.RUN = true
  push(dut, list)
  t.advance(1e-3)
  t.eq(dut.regs.RESULT.value, checksum(packed(list)))
  t.eq(dut.regs.COUNT.value, 4 * #list)
end)

t.test("[2] the FIFO's level", function(dut)
  for i, word in ipairs(words(term.depth)) do
    dut.regs.DATA.value = word
    t.eq(dut.regs.STATUS.LEVEL, i)
    t.eq(dut.regs.STATUS.EMPTY, false)
    t.eq(dut.regs.STATUS.FULL, i == term.depth)
  end
  dut.regs.CTRL.CLEAR = true
  t.eq(dut.regs.STATUS.LEVEL, 0)
  t.eq(dut.regs.STATUS.EMPTY, true)
end)

t.test("[2] a word that finds no room", function(dut)
  local list = words(term.depth)
  push(dut, list)
  t.eq(dut.regs.IRQ.OVERRUN, false)
  dut.regs.DATA.value = 99
  t.eq(dut.regs.IRQ.OVERRUN, true)
  t.eq(dut.regs.STATUS.LEVEL, term.depth)
  t.advance(0)
  dut.regs.CTRL.RUN = true
  t.advance(1e-3)
  t.eq(dut.regs.RESULT.value, checksum(packed(list)))
end)

t.test("[1] a microsecond a word", function(dut)
  t.advance(0)
  push(dut, words(3))
  dut.regs.CTRL.RUN = true
  for left = 3, 1, -1 do
    t.eq(dut.regs.STATUS.LEVEL, left)
    t.advance(999 * NS)
    t.eq(dut.regs.STATUS.LEVEL, left)
    t.advance(1 * NS)
  end
  t.eq(dut.regs.STATUS.EMPTY, true)
end)

t.test("[2] DRAINED interrupts if it is enabled", function(dut)
  t.advance(0)
  dut.regs.CTRL.RUN = true
  dut.regs.DATA.value = 1
  t.advance(1e-3)
  t.eq(dut.regs.IRQ.DRAINED, true)
  t.eq(dut:irq_count(), 0, "without ENABLE")
  dut.regs.ENABLE.DRAINED = true
  t.ok(dut:wait_irq(), "it is pending when ENABLE is set")
  dut.regs.IRQ.DRAINED = true
  t.eq(dut.regs.IRQ.DRAINED, false)
end)

t.test("[3] a DMA transfer", function(dut)
  local data = ("the quick brown fox"):rep(20) .. "!"
  dut:memory(MEMORY, 4096):write(7, data)
  dut.regs.ENABLE.DONE = true
  transfer(dut, MEMORY + 7, #data)
  t.ok(dut:wait_irq())
  t.eq(dut.regs.RESULT.value, checksum(data))
  t.eq(dut.regs.COUNT.value, #data)
  t.eq(dut.regs.STATUS.FAULT, false)
  t.eq(dut.regs.CTRL.GO, false)
end)

t.test("[1] a transfer of nothing ends", function(dut)
  transfer(dut, MEMORY, 0)
  t.eq(dut.regs.RESULT.value, 0xffffffff)
  t.eq(dut.regs.IRQ.DONE, true)
end)

t.test("[2] memory that is not there", function(dut)
  dut:memory(MEMORY, 4096)
  transfer(dut, MEMORY + 4096, 64)
  t.eq(dut.regs.STATUS.FAULT, true)
  t.eq(dut.regs.IRQ.DONE, true)
  transfer(dut, MEMORY, 64)
  t.eq(dut.regs.STATUS.FAULT, false)
end)

t.test("[1] ADDR, LENGTH and INIT keep their values while a transfer runs", function(dut)
  t.advance(0) -- time stands still: it cannot end
  dut.regs.LENGTH.value = 16
  dut.regs.CTRL.GO = true
  t.eq(dut.regs.STATUS.BUSY, true)
  dut.regs.ADDR.value, dut.regs.LENGTH.value, dut.regs.INIT.value = 1, 2, 3
  t.eq(dut.regs.ADDR.value, 0)
  t.eq(dut.regs.LENGTH.value, 16)
  t.eq(dut.regs.INIT.value, 0xffffffff)
end)

t.test("[1] the pin is down when IRQ is clear", { irq = "intx" }, function(dut)
  dut.regs.ENABLE.OVERRUN = true
  push(dut, words(term.depth + 1))
  t.ok(dut:wait_irq())
  dut.regs.IRQ.OVERRUN = true
  t.eq(dut.config:u16(6) & 8, 0, "Interrupt Status")
end)

t.test("[2] a reset stops everything", function(dut)
  t.advance(0)
  dut:memory(MEMORY, 4096)
  push(dut, words(2))
  dut.regs.ADDR.value, dut.regs.LENGTH.value = MEMORY, 16
  local ctrl = 1 << term.bit.CTRL.RUN | 1 << term.bit.CTRL.GO
  dut.regs.CTRL.value = ctrl
  dut:reset()
  t.advance(1e-3)
  t.eq(dut.regs.IRQ.value, 0)
  t.eq(dut.regs.COUNT.value, 0)
  t.eq(dut.regs.STATUS.EMPTY, true)
  dut.regs.CTRL.RUN = true
  dut.regs.DATA.value = 5
  t.advance(1e-3)
  t.eq(dut.regs.COUNT.value, 4, "the words from before are gone")
end)
