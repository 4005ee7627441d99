-- SPDX-License-Identifier: BSD-3-Clause
-- ACCES PCI-IDIO-16: 16 isolated inputs, 16 FET outputs, an interrupt whenever an input changes.
-- The registers are those that the Linux driver gpio-pci-idio-16 uses.
local vfu = require "vfu"
local reg, flag = vfu.reg, vfu.flag

local card = vfu.device("gpio-idio-16", {
  doc    = "ACCES PCI-IDIO-16 digital I/O card: 16 inputs, 16 outputs",
  pci    = { vendor = 0x494f, device = 0x0dc8, class = 0xff0000, intx = true },
  irq    = { level = "STATUS" },
  params = {
    loopback = { false, doc = "wire the outputs back to the inputs" },
    inputs   = { 0, min = 0, max = 0xffff, doc = "level of the 16 inputs after power-on" },
    blink    = { 0.0, doc = "toggle input 15 every so many seconds (0: never)" },
  },
  state  = { enabled = false },
})

card:bar(2, { size = 8, type = "io", sizes = { 1 } }, {
  reg("OUT_LOW",  0x0, 1, { doc = "outputs 0 to 7" }),
  reg("IN_LOW",   0x1, 1, { doc = "inputs 0 to 7; any write clears the interrupt" }),
  reg("IRQ",      0x2, 1, { doc = "a read enables the interrupt, any write disables it" }),
  reg("FILTER",   0x3, 1, { doc = "a read turns the input filters on, any write turns them off; no effect here" }),
  reg("OUT_HIGH", 0x4, 1, { doc = "outputs 8 to 15" }),
  reg("IN_HIGH",  0x5, 1, "ro", { doc = "inputs 8 to 15" }),
  reg("STATUS",   0x6, 1, "ro", {
    doc = "why the interrupt is asserted; 0 when it is not",
    flag("LOW_CHANGED", 0, { doc = "one of the inputs 0 to 7 has changed" }),
    flag("HIGH_CHANGED", 1, { doc = "one of the inputs 8 to 15 has changed" }),
    flag("PENDING", 2, { doc = "an interrupt is pending" }),
  }),
})

-- The outside world sets the inputs to new levels.
local function drive(self, low, high)
  local low_changed, high_changed = low ~= self.IN_LOW.value, high ~= self.IN_HIGH.value
  self.IN_LOW.value, self.IN_HIGH.value = low, high
  if self.enabled and (low_changed or high_changed) then
    if low_changed then self.STATUS.LOW_CHANGED = true end
    if high_changed then self.STATUS.HIGH_CHANGED = true end
    self.STATUS.PENDING = true
  end
end

local function outputs_changed(self)
  if self.params.loopback then drive(self, self.OUT_LOW.value, self.OUT_HIGH.value) end
end

function card.write:OUT_LOW()  outputs_changed(self) end
function card.write:OUT_HIGH() outputs_changed(self) end

-- Writing the inputs' address leaves the inputs as they are.
function card.write:IN_LOW(_, inputs)
  self.STATUS.value = 0
  return inputs
end

function card.read:IRQ()
  self.enabled = true
  return 0
end

function card.write:IRQ()
  self.enabled = false
  self.STATUS.value = 0
end

function card.event:blink()
  drive(self, self.IN_LOW.value, self.IN_HIGH.value ~ 0x80)
end

function card.on:reset()
  self.enabled = false
  if not self.params.loopback then
    self.IN_LOW.value, self.IN_HIGH.value = self.params.inputs & 0xff, self.params.inputs >> 8
  end
  if self.params.blink > 0 then self:every(self.params.blink, "blink") end
end

return card
