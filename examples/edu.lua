-- SPDX-License-Identifier: BSD-3-Clause
local vfu = require "vfu"
local reg, flag, field = vfu.reg, vfu.flag, vfu.field

local edu = vfu.device("edu", {
  doc    = "Teaching device, register-compatible with QEMU's edu",
  pci    = { vendor = 0x1234, device = 0x11e8, revision = 0x10, class = 0x00ff00, intx = true, msi = 1 },
  params = { dma_mask = { 0x0fffffff, doc = "addresses the DMA engine can reach" } },
  state  = { buf = vfu.buffer(4096) },
  irq    = { level = "IRQ" },
  dma    = true,
})

edu:bar(0, { size = 1 << 20, sizes = {4, 8}, unmapped = "ones" }, {
  reg("ID",     0x00, 4, "ro", { reset = 0x010000ed, doc = "0xRRrr00ed: major, minor, magic" }),
  reg("LIVE",   0x04, 4, "rw", { doc = "reads back the complement of what was written" }),
  reg("FACT",   0x08, 4, "rw", { doc = "write n, poll STATUS.COMPUTING, read n!" }),
  reg("STATUS", 0x20, 4, { flag("COMPUTING", 0, "ro"), flag("IRQFACT", 7, "rw") }),
  reg("IRQ",    0x24, 4, "ro", { flag("FACT", 0), flag("DMA", 8) }),
  reg("RAISE",  0x60, 4, "wo"),
  reg("ACK",    0x64, 4, "wo"),
  reg("SRC",    0x80, 8, "rw"),
  reg("DST",    0x88, 8, "rw"),
  reg("COUNT",  0x90, 8, "rw"),
  reg("CMD",    0x98, 8, "rw", { flag("RUN", 0), field("DIR", 1, 1, { "to_device", "to_host" }), flag("IRQ", 2) }),
})

function edu.write:LIVE(v)  return ~v end
function edu.write:RAISE(v) self.IRQ.value = self.IRQ.value | v end
function edu.write:ACK(v)   self.IRQ.value = self.IRQ.value & ~v end

function edu.write:FACT(n, old)
  if self.STATUS.COMPUTING then return old end
  self.STATUS.COMPUTING = true
  self:after(0, "factorial", n)
end

function edu.event:factorial(n)
  local f = 1
  for i = 2, n do
    f = f * i & 0xffffffff
    if f == 0 then break end
  end
  self.FACT.value, self.STATUS.COMPUTING = f, false
  if self.STATUS.IRQFACT then self.IRQ.FACT = true end
end

edu:lock({ "SRC", "DST", "COUNT", "CMD" }, "CMD.RUN")

function edu.write:CMD(v)
  if v & 1 == 1 then self:after(100e-6, "dma") end
end

function edu.event:dma()
  local src, dst, n = self.SRC.value, self.DST.value, self.COUNT.value
  if self.CMD.DIR == "to_device" then
    local data, err = self.dma:read(src & self.params.dma_mask, n)
    if data then self.buf:write(dst - 0x40000, data) else self:guest_error("DMA read: %s", err) end
  else
    local ok, err = self.dma:write(dst & self.params.dma_mask, self.buf:read(src - 0x40000, n))
    if not ok then self:guest_error("DMA write: %s", err) end
  end
  self.CMD.RUN = false
  if self.CMD.IRQ then self.IRQ.DMA = true end
end

return edu
