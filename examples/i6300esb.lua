-- SPDX-License-Identifier: BSD-3-Clause
-- The watchdog of Intel's 6300ESB I/O controller hub: two stages, an unlocking sequence, a lock till the reset.
-- Linux drives it with i6300esb (docs/devices/i6300esb.md).
local vfu = require "vfu"
local reg, flag, field = vfu.reg, vfu.flag, vfu.field

local dev = vfu.device("i6300esb", {
  doc = "Intel 6300ESB watchdog timer",
  pci = { vendor = 0x8086, device = 0x25ab, revision = 1, class = 0x088000, intx = true },
  params = {
    action = { "report", enum = { "none", "report", "reset" }, doc = "what the end of the second stage leads to" },
    fatal = { true, doc = "its report is fatal: exit status 4 with --once and --run" },
    qmp = { "", doc = "unix:PATH of the guest's QEMU, for action=reset" },
  },
  state = {
    keys = 0,         -- 1: 0x80 has been written, 2: 0x86 too, and the next write is let through
    stage = 0,        -- 0: the counter stands still
    run = 0,          -- counts the runs of the counter: an event of an earlier one is late
    timed_out = false, -- WDT_TOUT# is low
    attached = false,
  },
})

local qmp = vfu.qmp(dev.params.qmp)
if dev.params.action == "reset" and not qmp then error("action=reset needs qmp=unix:PATH, where QEMU listens", 0) end
if dev.params.action ~= "reset" and qmp then error("qmp= is for action=reset", 0) end

dev:config({}, {
  reg("CONFIG", 0x60, 2, {
    field("INT_TYPE", 0, 2, { irq = 0, smi = 2, off = 3 }, { doc = "what the end of the first stage raises" }),
    flag("PRE_SEL", 2, { doc = "count every 2^5 PCI clocks (1 MHz), not every 2^15 (1 kHz)" }),
    flag("NO_OUTPUT", 5, { doc = "leave WDT_TOUT# alone" }),
  }),
  reg("LOCK", 0x68, 1, {
    flag("LOCK", 0, { doc = "this register stays as it is until a reset" }),
    flag("ENABLE", 1, { doc = "count" }),
    flag("FREE", 2, { doc = "free-running: one stage, again and again, WDT_TOUT# toggles" }),
  }),
})
dev:lock("LOCK", "LOCK.LOCK")

dev:bar(0, { size = 16 }, {
  reg("PRELOAD1", 0x00, 4, { reset = 0xfffff, doc = "ticks of the first stage", field("TICKS", 0, 20) }),
  reg("PRELOAD2", 0x04, 4, { reset = 0xfffff, doc = "ticks of the second stage", field("TICKS", 0, 20) }),
  reg("STATUS", 0x08, 4, "w1c", { flag("STAGE1", 0, { doc = "the first stage has ended" }) }),
  reg("RELOAD", 0x0c, 2, "w1c", {
    sticky = true, -- a reset of the machine is what TIMEOUT is there to tell of
    field("KEY", 0, 8, "wo", { doc = "0x80, then 0x86: the next write to this or a preload register counts" }),
    flag("RELOAD", 8, "wo", { doc = "begin again with the first stage" }),
    flag("TIMEOUT", 9, { doc = "the second stage has ended" }),
  }),
})

-- ---- the counter

local CLOCK = 30e-9 -- s, of PCI
local timer -- of this run, where this script has started it

local function seconds(self, preload)
  return preload.TICKS * (self.CONFIG.PRE_SEL and 1 << 5 or 1 << 15) * CLOCK
end

local function stop(self)
  if timer then timer:cancel() end
  timer = nil
  self.stage, self.run = 0, self.run + 1
end

local function start(self, stage)
  stop(self)
  self.stage = stage
  local s = seconds(self, stage == 1 and self.PRELOAD1 or self.PRELOAD2)
  if self.LOCK.FREE and s < 1e-3 then s = 1e-3 end -- of an output that nobody sees, 1000 edges a second will do
  timer = self:after(s, "expired", self.run)
end

local function interrupt(self)
  if self.STATUS.STAGE1 and self.CONFIG.INT_TYPE == "irq" then self.irq:raise() else self.irq:lower() end
end

local function report(self, data, fatal)
  if self.params.action ~= "none" then self:report("expired", data, { fatal = fatal }) end
end

local function reset_guest()
  qmp:execute("system_reset", nil, function(_, message)
    if message then vfu.log.error("the guest is not reset: %s", message) end
  end)
end

local function first_stage(self)
  self.STATUS.STAGE1 = true
  interrupt(self)
  report(self, { stage = 1, interrupt = tostring(self.CONFIG.INT_TYPE) })
  start(self, 2)
end

-- The board resets the machine by WDT_TOUT#. Where no machine is, there is nothing to be reset.
local function second_stage(self)
  local output = not self.CONFIG.NO_OUTPUT
  stop(self)
  self.RELOAD.TIMEOUT = true
  self.timed_out = output
  report(self, { stage = 2, output = output }, output and self.params.fatal and self.attached)
  if output and self.params.action == "reset" and self.attached then reset_guest() end
end

function dev.event:expired(run)
  if run ~= self.run or self.stage == 0 then return end
  timer = nil
  if self.LOCK.FREE then
    if not self.CONFIG.NO_OUTPUT then self.timed_out = not self.timed_out end
    start(self, 1)
  elseif self.stage == 1 then
    first_stage(self)
  else
    second_stage(self)
  end
end

-- ---- what software does

local function unlocked(self)
  local open = self.keys == 2
  self.keys = 0
  return open
end

function dev.write:PRELOAD1(_, old)
  if not unlocked(self) then return old end
end

function dev.write:PRELOAD2(_, old)
  if not unlocked(self) then return old end
end

function dev.write:STATUS() interrupt(self) end
function dev.write:CONFIG() interrupt(self) end

function dev.write:RELOAD(_, old, _, bits)
  local key = bits & 0xff
  if key == 0x80 then
    self.keys = 1
  elseif key == 0x86 and self.keys == 1 then
    self.keys = 2
  elseif unlocked(self) then
    if bits & 0x200 ~= 0 then old = old & ~0x200 end
    if bits & 0x100 ~= 0 and self.LOCK.ENABLE and not self.timed_out then start(self, 1) end
  end
  return old & 0x200
end

function dev.write:LOCK(new, old)
  if (new ~ old) & 6 == 0 then return end
  if self.LOCK.ENABLE then start(self, 1) else stop(self) end
end

function dev.on:reset()
  stop(self)
  self.keys, self.timed_out = 0, false
end

function dev.on:attach() self.attached = true end
function dev.on:detach() self.attached = false end

return dev
