-- The FIFO works, there is no DMA, and a slip: words go into the checksum with the highest byte first.
local vfu = require "vfu"
local reg, flag, field = vfu.reg, vfu.flag, vfu.field

local digest = vfu.device("digest", {
  pci   = { vendor = 0x1234, device = 0x4c79, revision = 1, class = 0x108000, intx = true, msi = 1 },
  state = { fifo = {} },
  irq   = { level = "IRQ", mask = "ENABLE" },
})

digest:bar(0, { size = 4096, sizes = { 4, 8 } }, {
  reg("ID",     0x00, 4, "ro", { reset = 0x44479085 }),
  reg("IRQ",    0x04, 4, "w1c", { flag("OVERRUN", 2), flag("DONE", 5), flag("DRAINED", 7) }),
  reg("DATA",   0x08, 4, "wo"),
  reg("COUNT",  0x0c, 4, "ro"),
  reg("ENABLE", 0x10, 4, { flag("OVERRUN", 2), flag("DONE", 5), flag("DRAINED", 7) }),
  reg("RESULT", 0x18, 4, "ro", { reset = 0xffffffff }),
  reg("STATUS", 0x20, 4, "ro", {
    flag("EMPTY", 1, { reset = 1 }), flag("BUSY", 2), flag("FULL", 5), flag("FAULT", 6), field("LEVEL", 8, 8),
  }),
  reg("INIT",   0x24, 4, { reset = 0xffffffff }),
  reg("CTRL",   0x28, 4, { flag("CLEAR", 0), flag("RUN", 2), flag("GO", 6) }),
  reg("LENGTH", 0x2c, 4),
  reg("ADDR",   0x30, 8),
})

local function show(dev)
  dev.STATUS.LEVEL, dev.STATUS.EMPTY, dev.STATUS.FULL = #dev.fifo, #dev.fifo == 0, #dev.fifo == 4
end

function digest.write:DATA(word)
  if #self.fifo == 4 then
    self.IRQ.OVERRUN = true
    return
  end
  table.insert(self.fifo, word)
  show(self)
  if self.CTRL.RUN and #self.fifo == 1 then self:after(1e-6, "step") end
end

function digest.event:step()
  if #self.fifo == 0 then return end
  local word, sum = table.remove(self.fifo, 1), self.RESULT.value
  for byte in string.pack(">I4", word):gmatch(".") do
    sum = sum ~ byte:byte()
    for _ = 1, 8 do sum = sum & 1 == 1 and sum >> 1 ~ 0xedb88320 or sum >> 1 end
  end
  self.RESULT.value, self.COUNT.value = sum, self.COUNT.value + 4
  show(self)
  if #self.fifo == 0 then self.IRQ.DRAINED = true else self:after(1e-6, "step") end
end

function digest.write:CTRL(new, old)
  if new & 1 == 1 then
    self.fifo = {}
    self.RESULT.value, self.COUNT.value = self.INIT.value, 0
    show(self)
  end
  if new & ~old & 4 ~= 0 then self:after(1e-6, "step") end
  return new & 4
end

function digest.on:reset() self.fifo = {} end

return digest
