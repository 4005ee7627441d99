-- SPDX-License-Identifier: BSD-3-Clause
local vfu = require "vfu"
local reg, flag = vfu.reg, vfu.flag

local adder = vfu.device("adder", {
  doc = "adds up bytes of guest memory",
  pci = { vendor = 0x1234, device = 0xadd0, class = 0xff0000, intx = true, msi = 1 },
  irq = { level = "IRQ", mask = "ENABLE" },
})

adder:bar(0, { size = 4096, sizes = { 4, 8 } }, {
  reg("ID",     0x00, 4, "ro", { reset = 0xadd00001, doc = "tells the adder from other devices" }),
  reg("ADDR",   0x08, 8, { doc = "where the bytes are" }),
  reg("LENGTH", 0x10, 4, { doc = "how many there are" }),
  reg("START",  0x14, 4, "wo", { doc = "a write starts the adding" }),
  reg("STATUS", 0x18, 4, "ro", { flag("BUSY", 0), flag("ERROR", 1) }),
  reg("SUM",    0x1c, 4, "ro", { doc = "the result, modulo 2^32" }),
  reg("IRQ",    0x20, 4, "w1c", { flag("DONE", 0) }),
  reg("ENABLE", 0x24, 4, { flag("DONE", 0) }),
})

adder:lock({ "ADDR", "LENGTH" }, "STATUS.BUSY")

function adder.write:START()
  if self.STATUS.BUSY then return end
  self.STATUS.BUSY, self.STATUS.ERROR = true, false
  self:after(0, "add")
end

function adder.event:add()
  self.SUM.value = self.ADDR.value + self.LENGTH.value
  self.STATUS.BUSY = false
  self.IRQ.DONE = true
end

return adder
