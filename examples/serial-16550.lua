-- SPDX-License-Identifier: BSD-3-Clause
-- A 16550A serial port on PCI, as the stock driver 8250_pci takes it: registers and their behaviour are those of the
-- PC16550D data sheet. What it sends and receives goes through a stream of the host: a terminal if nothing else is said.
--
-- Registers share addresses: the divisor latch lies over DATA and IER while LCR.DLAB is set, and a write of IIR is one
-- of FCR. A script has one register for each address, and its hooks look at DLAB; what has no address of its own is state.
local vfu = require "vfu"
local reg, flag, field = vfu.reg, vfu.flag, vfu.field

local uart = vfu.device("serial-16550", {
  doc    = "16550A serial port on PCI",
  pci    = { vendor = 0x1b36, device = 0x0002, subsystem_vendor = 0x1af4, subsystem = 0x1100, revision = 1,
             class = 0x070002, intx = true },
  params = {
    chardev = { "pty", doc = "the other end of the line: pty, pty:LINK, unix:PATH, unix:PATH,connect, file:PATH or null" },
    pace    = { "off", enum = { "off", "baud" }, doc = "as fast as it goes, or as fast as the divisor says" },
    hangup  = { false, doc = "dropping DTR ends the connection of a peer at a socket" },
  },
  state  = {
    divisor = 12, fcr = 0, cause = 1, asserted = false,
    rx = "", errors = "", heard = 0.0, waiting = false, timeout = false, arriving = false,
    burst = 0, held = false, began = 0.0, rest = 0.0,
    ready = false, -- RTS has been raised, so it says something when it is down
    breaking = false, -- a break has begun for which the stream has had no room
    tx = "", shift = -1, sending = false, empty = false, busy = false, later = false,
  },
})

uart:bar(0, { size = 8, type = "io", sizes = { 1 } }, {
  reg("DATA", 0, 1, { doc = "receiver buffer, transmitter holding register; DLAB: divisor latch, low byte" }),
  reg("IER",  1, 1, {
    doc = "interrupt enable; DLAB: divisor latch, high byte",
    flag("RX", 0), flag("TX", 1), flag("LINE", 2), flag("MODEM", 3),
  }),
  reg("IIR",  2, 1, { doc = "interrupt identification; written: FCR, FIFO control" }),
  reg("LCR",  3, 1, {
    doc = "line control",
    field("BITS", 0, 2, { doc = "5 and so many" }), flag("STOP", 2), flag("PARITY", 3), flag("EVEN", 4), flag("STICK", 5),
    flag("BREAK", 6), flag("DLAB", 7),
  }),
  reg("MCR",  4, 1, { doc = "modem control", flag("DTR", 0), flag("RTS", 1), flag("OUT1", 2), flag("OUT2", 3), flag("LOOP", 4) }),
  reg("LSR",  5, 1, "ro", {
    doc = "line status", reset = 0x60,
    flag("DR", 0), flag("OE", 1), flag("PE", 2), flag("FE", 3), flag("BI", 4), flag("THRE", 5), flag("TEMT", 6),
    flag("ERR", 7),
  }),
  reg("MSR",  6, 1, "ro", {
    doc = "modem status",
    flag("DCTS", 0), flag("DDSR", 1), flag("TERI", 2), flag("DDCD", 3), flag("CTS", 4), flag("DSR", 5), flag("RI", 6),
    flag("DCD", 7),
  }),
  reg("SCR",  7, 1, { doc = "scratch" }),
})

local LINE_ERRORS <const>, BROKEN <const> = 0x1e, 0x18 -- OE, PE, FE, BI; a break is FE and BI
local TRIGGERS <const> = { 1, 4, 8, 14 }
local THRE <const>, TEMT <const> = 0x20, 0x40

local port = vfu.stream(uart.params.chardev)
local paced = uart.params.pace == "baud"
local marked = uart.params.chardev:find(",marks", 1, true) ~= nil

local function fifo(self)     return self.fcr & 1 == 1 end
local function capacity(self) return fifo(self) and 16 or 1 end
local function trigger(self)  return fifo(self) and TRIGGERS[(self.fcr >> 6) + 1] or 1 end

-- Seconds that one character takes on the line: 1.8432 MHz, by 16 and by the divisor.
local function char_time(self)
  local lcr = self.LCR.value
  local bits = 7 + (lcr & 3) + (lcr >> 2 & 1) + (lcr >> 3 & 1)
  return bits * 16 * math.max(self.divisor, 1) / 1843200
end

---- Interrupts: the most urgent cause is the one that IIR shows.

local function update(self)
  local enabled, cause = self.IER.value, 1
  if enabled & 4 ~= 0 and self.LSR.value & LINE_ERRORS ~= 0 then cause = 6
  elseif enabled & 1 ~= 0 and #self.rx >= trigger(self) then cause = 4
  elseif enabled & 1 ~= 0 and self.timeout then cause = 12
  elseif enabled & 2 ~= 0 and self.empty then cause = 2
  elseif enabled & 8 ~= 0 and self.MSR.value & 0xf ~= 0 then cause = 0
  end
  self.cause = cause
  if (cause ~= 1) ~= self.asserted then
    self.asserted = cause ~= 1
    if cause ~= 1 then self.irq:raise() else self.irq:lower() end
  end
end

---- Receiving

-- DR, and the errors of the character that has come to the top of the FIFO: they are shown once.
local function show(self)
  local lsr = self.LSR.value & 0x7e
  if self.rx ~= "" then
    lsr = lsr | 1 | self.errors:byte()
    if self.errors:byte() ~= 0 then self.errors = "\0" .. self.errors:sub(2) end
  end
  if fifo(self) and (lsr & (LINE_ERRORS & ~2) ~= 0 or self.errors:find("[^\0]")) then lsr = lsr | 0x80 end
  self.LSR.value = lsr
end

-- Something that waits below the trigger level is told after four characters' time in which nothing happens.
local function await_timeout(self)
  self.heard = vfu.now()
  if fifo(self) and not self.waiting then
    self.waiting = true
    self:after(4 * char_time(self), "quiet")
  end
end

function uart.event:quiet()
  local left = self.heard + 4 * char_time(self) - vfu.now()
  self.waiting = false
  if self.rx == "" or not fifo(self) then return end
  if left > 1e-9 then
    self.waiting = true
    self:after(left, "quiet")
  else
    self.timeout = true
    update(self)
  end
end

local function receive(self, chars, error)
  local room = capacity(self) - #self.rx
  if #chars > room then
    self.LSR.OE = true
    if not fifo(self) then self.rx, self.errors, room = "", "", 1 end -- the new one takes its place; a FIFO keeps the old
    chars = fifo(self) and chars:sub(1, room) or chars:sub(-1)
  end
  if chars ~= "" then
    self.rx, self.errors = self.rx .. chars, self.errors .. string.char(error or 0):rep(#chars)
    await_timeout(self)
  end
  show(self)
end

-- The other end sends nothing while RTS is down, if the guest makes use of RTS at all; nor does loopback let it in.
local function shut(self)
  return self.MCR.LOOP or self.ready and not self.MCR.RTS
end

-- What fits, and no more: the rest waits in the stream, and its peer waits in turn.
local function fill(self)
  if paced or self.held or shut(self) then return end
  local room = capacity(self) - #self.rx
  if room == 0 then return end
  local data, broken = port:read(room)
  if self.burst == 0 then self.began = vfu.now() end
  self.burst = self.burst + #data
  if broken then receive(self, "\0", BROKEN) elseif data ~= "" then receive(self, data) end
end

-- At the line's speed nobody asks whether there is room: what comes too early is lost, and LSR.OE says so.
local function listen(self)
  if paced and not self.arriving and not shut(self) and port:waiting() > 0 then
    self.arriving = true
    self:after(char_time(self), "arrive")
  end
end

function uart.event:arrive()
  self.arriving = false
  if shut(self) then return end
  local data, broken = port:read(1)
  if broken then receive(self, "\0", BROKEN) elseif data ~= "" then receive(self, data) end
  if broken or data ~= "" then listen(self) end -- else half a mark is all that there is, and `readable` tells of the rest
  update(self)
end

-- No line is endless: a driver that takes characters while there are some has to find none now and then, or its interrupt
-- handler never ends. So behind a burst the next ones come when LSR has shown that there are none, and as long again as a
-- part of the burst has taken: a guest that did nothing but receive could not so much as read. Those that are sent
-- count as gone when IIR has shown that all is done. Or else it is after the time that a FIFO takes on the line, but for
-- lines that are very slow: each pause leaves a timer behind.
local BURST <const>, PAUSE <const> = 256, 0.02 -- bytes, seconds at most

local function pause(self)
  return math.min(16 * char_time(self), PAUSE)
end

local function hold(self)
  if not paced and not self.held and self.burst >= BURST then
    self.held, self.rest = true, math.min((vfu.now() - self.began) / 8, PAUSE)
    self:after(math.max(pause(self), self.rest), "line")
  end
end

function uart.event:line()
  if self.later and self.tx == "" and self.shift < 0 then self.empty = true end
  self.later, self.busy, self.held, self.burst = false, false, false, 0
  fill(self)
  listen(self)
  update(self)
end

function port.readable(self)
  if self.rx == "" then self.burst = 0 end
  if paced then listen(self) else fill(self) end
  update(self)
end

---- Sending: a FIFO, and behind it the register that shifts one character out.

local function deliver(self, byte)
  if self.LCR.BREAK and not self.MCR.LOOP then return true end -- nothing gets through it
  local char = string.char(byte & (0x1f << (self.LCR.value & 3) | 0x1f) & 0xff)
  if self.MCR.LOOP then
    receive(self, char)
    return true
  end
  return not self.breaking and port:write(char) == 1
end

-- A break that finds no room goes before all that is sent behind it.
local function send_break(self)
  self.breaking = marked and not port:send_break()
end

local function pump(self)
  while true do
    if self.shift < 0 then
      if self.tx == "" then break end
      self.shift, self.tx = self.tx:byte(), self.tx:sub(2)
      if self.tx == "" then self.empty = true end
      if paced then
        self.sending = true
        self:after(char_time(self), "sent")
      end
    end
    if self.sending or not deliver(self, self.shift) then break end
    self.shift = -1
  end
  self.LSR.value = self.LSR.value & ~(THRE | TEMT) | (self.tx == "" and THRE or 0) |
                   (self.tx == "" and self.shift < 0 and TEMT or 0)
end

local function resume(self)
  if self.breaking then send_break(self) end
  pump(self)
end

function uart.event:sent()
  self.sending = false
  pump(self)
  update(self)
end

function port.writable(self)
  resume(self)
  update(self)
end

local function send(self, byte)
  if not paced and self.tx == "" and self.shift < 0 and deliver(self, byte) then
    self.empty = not self.busy -- gone already
    if self.busy and not self.later then
      self.later = true
      self:after(pause(self), "line")
    end
    return
  end
  self.empty = false
  if #self.tx < capacity(self) then
    self.tx = self.tx .. string.char(byte)
  else
    self:guest_error("THR is written while it is full: the character %s is lost", vfu.hex(byte))
  end
  pump(self)
end

---- Modem lines: CTS is always there; DSR and DCD say that the stream has a peer.

local function set_lines(self, lines)
  local old = self.MSR.value
  local changed = (old ~ lines) >> 4
  local deltas = changed & 0xb | (old & ~lines) >> 4 & 4 -- of RI only its end
  self.MSR.value = lines | (old | deltas) & 0xf
end

local function outside(self)
  return 0x10 | (port:connected() and 0xa0 or 0)
end

local function modem(self)
  local mcr = self.MCR.value
  if mcr & 0x10 == 0 then return set_lines(self, outside(self)) end
  set_lines(self, (mcr & 2) << 3 | (mcr & 1) << 5 | (mcr & 4) << 4 | (mcr & 8) << 4)
end

function port.peer(self)
  modem(self)
  update(self)
end

---- Registers

function uart.read:DATA()
  if self.LCR.DLAB then return self.divisor & 0xff end
  local rx = self.rx
  local byte = rx:byte() or 0
  if rx ~= "" then
    self.rx, self.errors, self.timeout = rx:sub(2), self.errors:sub(2), false
    if #rx == 1 then
      hold(self)
      fill(self)
    else
      await_timeout(self)
    end
    show(self)
    update(self)
  end
  return byte
end

function uart.write:DATA(byte)
  if self.LCR.DLAB then
    self.divisor = self.divisor & 0xff00 | byte
  else
    send(self, byte)
    update(self)
  end
end

function uart.read:IER(value)
  return self.LCR.DLAB and self.divisor >> 8 or value
end

function uart.write:IER(new, old, _, raw)
  if self.LCR.DLAB then
    self.divisor = self.divisor & 0xff | raw << 8
    return old
  end
  if new & ~old & 2 ~= 0 and self.LSR.THRE then self.empty = true end
  update(self)
end

function uart.read:IIR()
  local shown = self.cause | (fifo(self) and 0xc0 or 0)
  if self.cause == 2 then
    self.empty, self.busy = false, true
    update(self)
  elseif self.cause == 1 then
    self.busy = false
    if self.later then self:after(0, "line") end
  end
  return shown
end

-- FCR: a change of its lowest bit empties both FIFOs, as bits 1 and 2 do.
function uart.write:IIR(fcr)
  local clear = (fcr ~ self.fcr) & 1 ~= 0 and 6 or fcr & 1 ~= 0 and fcr & 6 or 0
  self.fcr = fcr & 1 ~= 0 and fcr & 0xc1 or 0
  if clear & 2 ~= 0 then
    self.rx, self.errors, self.timeout = "", "", false
    show(self)
  end
  if clear & 4 ~= 0 and self.tx ~= "" then self.tx, self.empty = "", true end
  pump(self)
  fill(self)
  update(self)
end

function uart.write:LCR(new, old)
  if new & ~old & 0x40 ~= 0 then
    if self.MCR.LOOP then receive(self, "\0", BROKEN) else send_break(self) end
  end
  update(self)
end

function uart.write:MCR(new, old)
  if old & ~new & 1 ~= 0 and new & 0x10 == 0 and self.params.hangup then port:hang_up() end
  if new & 0x12 == 2 then self.ready = true end
  modem(self)
  fill(self)
  listen(self)
  update(self)
end

function uart.read:LSR(value)
  if self.held and self.rest >= 0 and value & 1 == 0 then
    self:after(self.rest, "line")
    self.rest = -1.0
  end
  if value & LINE_ERRORS ~= 0 then
    self.LSR.value = value & ~LINE_ERRORS
    show(self)
    update(self)
  end
  return value
end

function uart.read:MSR(value)
  if value & 0xf ~= 0 then
    self.MSR.value = value & 0xf0
    update(self)
  end
  return value
end

function uart.on:reset()
  self.divisor, self.fcr, self.cause, self.asserted = 12, 0, 1, false
  self.rx, self.errors, self.heard, self.waiting, self.timeout, self.arriving = "", "", 0.0, false, false, false
  self.ready, self.breaking, self.tx, self.shift, self.sending, self.empty = false, false, "", -1, false, false
  self.burst, self.held, self.busy, self.later = 0, false, false, false
  self.MSR.value = outside(self)
  self:after(0, "line") -- not at once: a state that is loaded comes behind a reset, and would be in the place of what is read
end

-- The line may be another one by now.
function uart.on:load()
  modem(self)
  resume(self)
  fill(self)
  listen(self)
  update(self)
end

return uart
