-- SPDX-License-Identifier: BSD-3-Clause
-- The reference: a checksum accelerator that is fed through a FIFO or by DMA. term.lua says where everything is.
-- This is the solution. What students get is made by ./handout.
local vfu = require "vfu"
local term = require "term"
local reg, flag, field = vfu.reg, vfu.flag, vfu.field
local at, bit = term.at, term.bit

local STEP = 1e-6 -- seconds that the engine takes for a word of the FIFO
local CHUNK = 65536

local digest = vfu.device("digest", {
  doc   = "checksum accelerator with a FIFO, DMA and interrupts",
  pci   = { vendor = 0x1234, device = term.device, revision = 1, class = 0x108000, intx = true, msi = 1 },
  state = { fifo = {}, turn = 0 }, -- turn: of the engine; what is due of an earlier one is void
  irq   = { level = "IRQ", mask = "ENABLE" },
  dma   = true,
})

digest:bar(0, { size = 4096, sizes = { 4, 8 } }, {
  reg("ID",     at.ID,     4, "ro", { reset = term.id, doc = "the device's name and edition" }),
  reg("CTRL",   at.CTRL,   4, {
    doc = "what the engine does",
    flag("RUN",   bit.CTRL.RUN,   { doc = "the engine takes words out of the FIFO" }),
    flag("GO",    bit.CTRL.GO,    { doc = "writing 1 starts a DMA transfer; reads 1 until it has ended" }),
    flag("CLEAR", bit.CTRL.CLEAR, { doc = "writing 1 empties the FIFO and begins a new checksum; reads 0" }),
  }),
  reg("STATUS", at.STATUS, 4, "ro", {
    doc = "what the engine is doing",
    flag("BUSY",  bit.STATUS.BUSY,  { doc = "a DMA transfer runs" }),
    flag("FAULT", bit.STATUS.FAULT, { doc = "the last transfer met memory that is not there" }),
    flag("EMPTY", bit.STATUS.EMPTY, { doc = "the FIFO is empty", reset = 1 }),
    flag("FULL",  bit.STATUS.FULL,  { doc = "the FIFO is full" }),
    field("LEVEL", 8, 8, { doc = "words in the FIFO" }),
  }),
  reg("DATA",   at.DATA,   4, "wo", { doc = ("a word for the FIFO, which holds %d"):format(term.depth) }),
  reg("INIT",   at.INIT,   4, { reset = 0xffffffff, doc = "what a new checksum begins with" }),
  reg("RESULT", at.RESULT, 4, "ro", { reset = 0xffffffff, doc = ("the checksum so far; the polynomial is 0x%08x"):format(term.polynomial) }),
  reg("COUNT",  at.COUNT,  4, "ro", { doc = "bytes that are in it" }),
  reg("ADDR",   at.ADDR,   8, { doc = "DMA address of the first byte" }),
  reg("LENGTH", at.LENGTH, 4, { doc = "bytes to transfer" }),
  reg("IRQ",    at.IRQ,    4, "w1c", {
    doc = "what happened",
    flag("DONE",    bit.IRQ.DONE,    { doc = "a transfer has ended" }),
    flag("DRAINED", bit.IRQ.DRAINED, { doc = "the engine has taken the last word of the FIFO" }),
    flag("OVERRUN", bit.IRQ.OVERRUN, { doc = "a word was written to a full FIFO, and lost" }),
  }),
  reg("ENABLE", at.ENABLE, 4, {
    doc = "which of it interrupts",
    flag("DONE",    bit.IRQ.DONE,    { doc = "IRQ.DONE does" }),
    flag("DRAINED", bit.IRQ.DRAINED, { doc = "IRQ.DRAINED does" }),
    flag("OVERRUN", bit.IRQ.OVERRUN, { doc = "IRQ.OVERRUN does" }),
  }),
})
digest:lock({ "ADDR", "LENGTH", "INIT" }, "STATUS.BUSY")

local function add(dev, data)
  local sum = dev.RESULT.value
  for i = 1, #data do
    sum = sum ~ data:byte(i)
    for _ = 1, 8 do sum = sum & 1 == 1 and sum >> 1 ~ term.polynomial or sum >> 1 end
  end
  dev.RESULT.value = sum
  dev.COUNT.value = dev.COUNT.value + #data
end

local function show_level(dev)
  dev.STATUS.LEVEL, dev.STATUS.EMPTY, dev.STATUS.FULL = #dev.fifo, #dev.fifo == 0, #dev.fifo == term.depth
end

local function start(dev)
  if not dev.CTRL.RUN or #dev.fifo == 0 then return end
  dev.turn = dev.turn + 1
  dev:after(STEP, "step", dev.turn)
end

function digest.write:DATA(word)
  if #self.fifo == term.depth then
    self.IRQ.OVERRUN = true
    return
  end
  self.fifo[#self.fifo + 1] = word
  if #self.fifo == 1 then start(self) end
  show_level(self)
end

function digest.event:step(turn)
  if turn ~= self.turn or not self.CTRL.RUN or #self.fifo == 0 then return end
  add(self, string.pack("<I4", table.remove(self.fifo, 1)))
  show_level(self)
  if #self.fifo > 0 then start(self) else self.IRQ.DRAINED = true end
end

function digest.write:CTRL(new, old)
  local run, go, clear = 1 << bit.CTRL.RUN, 1 << bit.CTRL.GO, 1 << bit.CTRL.CLEAR
  if new & clear ~= 0 then
    self.fifo = {}
    self.RESULT.value, self.COUNT.value = self.INIT.value, 0
    show_level(self)
  end
  if new & run ~= 0 and old & run == 0 then start(self) end
  if self.STATUS.BUSY then
    new = new | go
  elseif new & go ~= 0 then
    self.STATUS.BUSY, self.STATUS.FAULT = true, false
    self:after(STEP, "transfer")
  end
  return new & ~clear
end

function digest.event:transfer()
  local address, left = self.ADDR.value, self.LENGTH.value
  while left > 0 do
    local n = math.min(left, CHUNK)
    local data, err = self.dma:read(address, n)
    if not data then
      self:guest_error("transfer: %s at 0x%x", err, address)
      self.STATUS.FAULT = true
      break
    end
    add(self, data)
    address, left = address + n, left - n
  end
  self.STATUS.BUSY, self.CTRL.GO = false, false
  self.IRQ.DONE = true
end

function digest.on:reset() self.fifo = {} end

return digest
