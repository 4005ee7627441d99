-- @NAME@ - an alarm clock on the PCI bus: write DELAY, and that many microseconds later STATUS.RANG is set and the
-- interrupt asserted until software writes 1 to it. COUNT says how often it rang. Change it into your device.
local vfu = require "vfu"
local reg, flag = vfu.reg, vfu.flag

local dev = vfu.device("@NAME@", {
  doc   = "An alarm clock",
  pci   = { vendor = 0x1234, device = 0x0001, class = 0xff0000, intx = true }, -- your own ids
  irq   = { level = "STATUS" },  -- the interrupt is asserted while STATUS is not 0
  state = { generation = 0 },    -- saved and restored with the registers and the pending events
})

-- Masks, resets and names: what this list says is done by the host.
dev:bar(0, { size = 4096, sizes = { 4 } }, {
  reg("DELAY",  0x00, 4, "rw", { doc = "microseconds until the alarm goes off; 0 stops it" }),
  reg("STATUS", 0x04, 4, { flag("RANG", 0, "w1c", { doc = "the alarm went off" }) }),
  reg("COUNT",  0x08, 4, "ro", { doc = "how often it went off" }),
})

-- Software has written DELAY; the register already holds the value. An alarm that was set before is of an older
-- generation and will do nothing.
function dev.write:DELAY(microseconds)
  self.generation = self.generation + 1
  if microseconds > 0 then self:after(microseconds * 1e-6, "ring", self.generation) end
end

function dev.event:ring(generation)
  if generation ~= self.generation then return end
  self.STATUS.RANG = true
  self.COUNT.value = self.COUNT.value + 1
end

-- Registers and pending events are reset already.
function dev.on:reset(kind)
  vfu.log.debug("%s reset", kind)
  self.generation = 0
end

return dev
