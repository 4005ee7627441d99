-- SPDX-License-Identifier: BSD-3-Clause
-- The port as its data sheet has it. Its line goes nowhere in most tests, where loopback mode is enough; in the others it
-- is a terminal, which the test has open as a user would.
local t = require "vfu.test"

local quiet <const> = { params = { chardev = "null" } }
local RX <const>, TX <const>, LINE <const>, MODEM <const> = 1, 2, 4, 8
local CHAR <const> = 10 * 16 * 12 / 1843200 -- seconds of a character: 8N1 at the 9600 baud of after a reset

local function asserted(dut)
  return dut.config:u16(6) & 8 ~= 0
end

-- 8N1, FIFOs on with this trigger level, the line looped back.
local function loop(dut, fcr)
  dut.regs.LCR.value = 3
  dut.regs.IIR.value = fcr or 0
  dut.regs.MCR.value = 0x10
end

local function send(dut, text)
  for i = 1, #text do dut.regs.DATA.value = text:byte(i) end
end

local function receive(dut)
  local text = ""
  while dut.regs.LSR.value & 1 ~= 0 do text = text .. string.char(dut.regs.DATA.value) end
  return text
end

t.test("it is the card", quiet, function(dut)
  t.eq(dut.config:u32(0), 0x00021b36)
  t.eq(dut.config:u32(8), 0x07000201)
end)

t.test("registers after a reset", quiet, function(dut)
  local function look()
    t.eq(dut.regs.IER.value, 0)
    t.eq(dut.regs.IIR.value, 1)
    t.eq(dut.regs.LCR.value, 0)
    t.eq(dut.regs.MCR.value, 0)
    t.eq(dut.regs.LSR.value, 0x60)
    t.eq(dut.regs.MSR.value & 0xf0, 0xb0)
  end
  dut.regs.MSR.value = 0
  t.eq(dut.regs.MSR.value & 0xf0, 0xb0)
  look()
  loop(dut, 0xc1)
  dut.regs.IER.value = 0xf
  send(dut, "lost")
  dut:reset()
  look()
  t.no(asserted(dut))
end)

t.test("the divisor lies over two registers", quiet, function(dut)
  dut.regs.IER.value = 5
  dut.regs.LCR.value = 0x83
  t.eq(dut.regs.DATA.value, 12)
  dut.regs.DATA.value, dut.regs.IER.value = 0x34, 0x12
  t.eq(dut.regs.DATA.value, 0x34)
  t.eq(dut.regs.IER.value, 0x12)
  dut.regs.LCR.value = 3
  t.eq(dut.regs.IER.value, 5)
  dut.regs.LCR.value = 0x83
  t.eq(dut.regs.IER.value, 0x12)
end)

t.test("reserved bits and scratch", quiet, function(dut)
  dut.regs.IER.value, dut.regs.MCR.value, dut.regs.SCR.value = 0xff, 0xff, 0x5a
  t.eq(dut.regs.IER.value, 0x0f)
  t.eq(dut.regs.MCR.value, 0x1f)
  t.eq(dut.regs.SCR.value, 0x5a)
  dut.regs.LSR.value = 0
  t.eq(dut.regs.LSR.value, 0x60)
end)

t.test("IIR shows that there are FIFOs", quiet, function(dut)
  dut.regs.IIR.value = 0xc1
  t.eq(dut.regs.IIR.value, 0xc1)
  dut.regs.IIR.value = 0x21 -- not those of a 16750
  t.eq(dut.regs.IIR.value, 0xc1)
  dut.regs.IIR.value = 0
  t.eq(dut.regs.IIR.value, 1)
end)

t.test("THRE: comes with its enable, goes with a read of IIR, comes back", quiet, function(dut)
  t.no(asserted(dut))
  dut.regs.IER.value = TX
  t.ok(asserted(dut))
  t.eq(dut.regs.IIR.value, 2)
  t.eq(dut.regs.IIR.value, 1)
  t.no(asserted(dut))
  dut.regs.DATA.value = 65
  t.eq(dut.regs.IIR.value, 2)
  dut.regs.IER.value = 0
  dut.regs.IER.value = TX
  t.eq(dut.regs.IIR.value, 2)
  dut.regs.DATA.value = 65
  dut.regs.IER.value = 0
  t.no(asserted(dut))
end)

for level, fcr in pairs({ [1] = 0x01, [4] = 0x41, [8] = 0x81, [14] = 0xc1 }) do
  t.test("trigger level " .. level, quiet, function(dut)
    t.advance(0)
    loop(dut, fcr)
    dut.regs.IER.value = RX
    send(dut, ("x"):rep(level - 1))
    t.eq(dut.regs.IIR.value, 0xc1)
    send(dut, "y")
    t.eq(dut.regs.IIR.value, 0xc4)
    t.ok(asserted(dut))
    t.eq(dut.regs.DATA.value, level == 1 and 121 or 120)
    t.eq(dut.regs.IIR.value, 0xc1)
    t.no(asserted(dut))
    t.eq(receive(dut), level == 1 and "" or ("x"):rep(level - 2) .. "y")
  end)
end

t.test("what waits below the level times out after four characters", quiet, function(dut)
  t.advance(0)
  loop(dut, 0xc1)
  dut.regs.IER.value = RX
  send(dut, "abc")
  t.advance(3.9 * CHAR)
  t.eq(dut.regs.IIR.value, 0xc1)
  t.advance(0.2 * CHAR)
  t.eq(dut.regs.IIR.value, 0xcc)
  t.eq(dut.regs.DATA.value, 97) -- a read ends it, and begins another
  t.eq(dut.regs.IIR.value, 0xc1)
  t.advance(2 * CHAR)
  send(dut, "d")
  t.advance(3.9 * CHAR)
  t.eq(dut.regs.IIR.value, 0xc1)
  t.advance(0.2 * CHAR)
  t.eq(dut.regs.IIR.value, 0xcc)
  t.eq(receive(dut), "bcd")
  t.advance(10 * CHAR)
  t.eq(dut.regs.IIR.value, 0xc1)
end)

t.test("the most urgent cause is shown first", quiet, function(dut)
  t.advance(0)
  loop(dut, 0x01)
  dut.regs.IER.value = RX | TX | LINE | MODEM
  dut.regs.MCR.value = 0x12
  dut.regs.LCR.value = 0x43
  t.eq(dut.regs.IIR.value, 0xc6)
  t.eq(dut.regs.LSR.value & 0x1e, 0x18)
  t.eq(dut.regs.IIR.value, 0xc4)
  t.eq(dut.regs.DATA.value, 0)
  t.eq(dut.regs.IIR.value, 0xc2)
  t.eq(dut.regs.IIR.value, 0xc0)
  t.ok(asserted(dut))
  t.ok(dut.regs.MSR.value & 0xf ~= 0)
  t.eq(dut.regs.IIR.value, 0xc1)
  t.no(asserted(dut))
end)

t.test("a FIFO that is full keeps what it has", quiet, function(dut)
  loop(dut, 0x01)
  dut.regs.IER.value = LINE
  send(dut, "0123456789abcdef")
  t.eq(dut.regs.LSR.value, 0x61)
  send(dut, "X")
  t.eq(dut.regs.IIR.value, 0xc6)
  t.eq(dut.regs.LSR.value, 0x63)
  t.eq(dut.regs.LSR.value, 0x61) -- told once
  t.eq(dut.regs.IIR.value, 0xc1)
  t.eq(receive(dut), "0123456789abcdef")
end)

t.test("without FIFOs the last one stays", quiet, function(dut)
  loop(dut)
  send(dut, "ab")
  t.eq(dut.regs.LSR.value, 0x63)
  t.eq(dut.regs.DATA.value, 98)
  t.eq(dut.regs.LSR.value, 0x60)
end)

t.test("FCR empties the FIFOs", quiet, function(dut)
  loop(dut, 0x01)
  send(dut, "abc")
  dut.regs.IIR.value = 0x03
  t.eq(dut.regs.LSR.value, 0x60)
  send(dut, "abc")
  dut.regs.IIR.value = 0
  t.eq(dut.regs.LSR.value, 0x60)
end)

t.test("a break is seen where it stands in the FIFO", quiet, function(dut)
  loop(dut, 0xc1)
  send(dut, "a")
  dut.regs.LCR.value = 0x43
  dut.regs.LCR.value = 0x03
  send(dut, "b")
  t.eq(dut.regs.LSR.value, 0xe1) -- somewhere, not here
  t.eq(dut.regs.DATA.value, 97)
  t.eq(dut.regs.LSR.value, 0xf9)
  t.eq(dut.regs.LSR.value, 0x61)
  t.eq(dut.regs.DATA.value, 0)
  t.eq(receive(dut), "b")
end)

t.test("loopback of the modem lines, and what changes", quiet, function(dut)
  dut.regs.MCR.value = 0x10
  t.eq(dut.regs.MSR.value, 0x0b) -- CTS, DSR and DCD have gone
  t.eq(dut.regs.MSR.value, 0)
  for mcr, msr in pairs({ [1] = 0x22, [2] = 0x11, [8] = 0x88 }) do
    dut.regs.MCR.value = 0x10 | mcr
    t.eq(dut.regs.MSR.value, msr)
    dut.regs.MCR.value = 0x10
    t.eq(dut.regs.MSR.value, msr & 0xf)
  end
  dut.regs.MCR.value = 0x14 -- of RI only the end is a change
  t.eq(dut.regs.MSR.value, 0x40)
  dut.regs.MCR.value = 0x10
  t.eq(dut.regs.MSR.value, 0x04)
end)

t.test("short characters", quiet, function(dut)
  loop(dut, 1)
  for bits, got in pairs({ [0] = 0x1f, [1] = 0x3f, [2] = 0x7f, [3] = 0xff }) do
    dut.regs.LCR.value = bits
    dut.regs.DATA.value = 0xff
    t.eq(dut.regs.DATA.value, got)
  end
end)

t.test("at the pace of the divisor", { params = { chardev = "null", pace = "baud" } }, function(dut)
  t.advance(0)
  loop(dut, 0x01)
  dut.regs.IER.value = TX
  t.eq(dut.regs.IIR.value, 0xc2)
  send(dut, "abc")
  t.eq(dut.regs.LSR.value, 0)
  t.eq(dut.regs.IIR.value, 0xc1)
  t.advance(1.5 * CHAR)
  t.eq(dut.regs.LSR.value, 1)
  t.advance(CHAR)
  t.eq(dut.regs.LSR.value, 0x21) -- the last is on the line
  t.eq(dut.regs.IIR.value, 0xc2)
  t.advance(CHAR)
  t.eq(dut.regs.LSR.value, 0x61)
  t.eq(receive(dut), "abc")
  send(dut, ("x"):rep(17))
  t.no(dut:log():find("lost", 1, true))
  send(dut, "y")
  t.match(dut:log(), "THR is written while it is full: the character 0x79 is lost")
  t.advance(20 * CHAR)
  t.eq(receive(dut), ("x"):rep(16)) -- and one had no room here
end)

t.test("state moves with what is in the FIFOs", quiet, function(dut)
  loop(dut, 0xc1)
  dut.regs.IER.value = RX
  send(dut, "saved")
  local state = dut:save()
  t.eq(receive(dut), "saved")
  dut:load(state)
  t.eq(receive(dut), "saved")
end)

---- With somebody at the other end

-- A test with a terminal: fn(dut, its file). Lua's files wait, so no more is read than there is.
local function terminal(name, params, fn)
  local link = os.tmpname()
  os.remove(link)
  params.chardev = "pty:" .. link .. (params.chardev or "")
  t.test(name, { params = params }, function(dut)
    local file <close> = assert(io.open(link, "r+b"))
    file:setvbuf("no")
    t.eventually(function() return dut.regs.MSR.DCD end)
    fn(dut, file)
  end)
end

terminal("a terminal gets what is sent, and the other way round", {}, function(dut, file)
  dut.regs.LCR.value = 3
  send(dut, "hello\r\n\3\0\255")
  t.eq(file:read(10), "hello\r\n\3\0\255")
  file:write("there\n\4")
  local got = ""
  t.eventually(function()
    got = got .. receive(dut)
    return #got == 7
  end)
  t.eq(got, "there\n\4")
end)

terminal("what has no room waits outside", {}, function(dut, file)
  dut.regs.LCR.value, dut.regs.IIR.value, dut.regs.IER.value = 3, 0xc1, RX
  local sent, got = ("0123456789abcdef"):rep(64), ""
  file:write(sent)
  t.ok(dut:wait_irq())
  t.eventually(function()
    got = got .. receive(dut)
    return #got >= #sent
  end)
  t.eq(got, sent)
  t.eq(dut.regs.LSR.value, 0x60)
end)

terminal("RTS holds the other end back, once it has been raised", {}, function(dut, file)
  local function comes(text)
    local got = ""
    t.eventually(function()
      got = got .. receive(dut)
      return got == text
    end)
  end
  local function nothing_comes()
    for _ = 1, 20 do t.eq(dut.regs.LSR.value & 1, 0) end
  end
  dut.regs.LCR.value, dut.regs.IIR.value = 3, 1
  file:write("a")
  comes("a") -- it has never been up: this guest knows nothing of it
  dut.regs.MCR.RTS = true
  file:write("b")
  comes("b")
  dut.regs.MCR.RTS = false
  file:write("cd")
  nothing_comes()
  dut.regs.MCR.value = 0x12 -- in loopback the pin is down, whatever the bit says
  nothing_comes()
  local state = dut:save()
  dut:load(state)
  dut.regs.MCR.value = 0
  nothing_comes()
  dut.regs.MCR.value = 2
  comes("cd")
  dut:reset()
  file:write("e")
  comes("e")
end)

terminal("a user who goes hangs up", {}, function(dut, file)
  t.eq(dut.regs.MSR.value & 0xf0, 0xb0)
  dut.regs.MSR.value = 0
  dut.regs.IER.value = MODEM
  file:close()
  t.ok(dut:wait_irq())
  t.eq(dut.regs.IIR.value, 0)
  t.eq(dut.regs.MSR.value, 0x1a)
end)

terminal("at the line's pace what comes too early is lost", { pace = "baud" }, function(dut, file)
  t.advance(0)
  dut.regs.LCR.value, dut.regs.IIR.value = 3, 0xc1
  file:write("0123456789abcdefXY")
  t.eventually(function() return dut:eval("self.arriving") == "true" end)
  t.advance(16.5 * CHAR)
  t.eq(dut.regs.LSR.value, 0x61)
  t.advance(CHAR)
  t.eq(dut.regs.LSR.value, 0x63)
  t.eq(receive(dut), "0123456789abcdef")
end)

terminal("breaks between marked bytes, both ways", { chardev = ",marks" }, function(dut, file)
  dut.regs.LCR.value, dut.regs.IIR.value, dut.regs.IER.value = 3, 0xc1, LINE
  file:write("\255\0\0h")
  t.ok(dut:wait_irq())
  t.eq(dut.regs.LSR.value & 0x1e, 0x18)
  t.eq(dut.regs.DATA.value, 0)
  local got = ""
  t.eventually(function()
    got = got .. receive(dut)
    return got == "h"
  end)
  dut.regs.LCR.BREAK = true
  t.eq(file:read(3), "\255\0\0")
  send(dut, "nothing gets through")
  dut.regs.LCR.BREAK = false
  send(dut, "!")
  t.eq(file:read(1), "!")
end)

terminal("a break that has no room waits for some", { chardev = ",marks" }, function(dut, file)
  local n = 0
  dut.regs.LCR.value = 3
  while dut.regs.LSR.THRE do
    dut.regs.DATA.value = 0x55
    n = n + 1
  end
  dut.regs.LCR.BREAK = true
  dut.regs.LCR.BREAK = false
  local got = file:read(n + 3)
  t.eq(select(2, got:gsub("\255\0\0", "")), 1)
  t.eq(select(2, got:gsub("U", "")), n)
  t.eventually(function() return dut.regs.LSR.value == 0x60 end)
end)

t.test("a line that is very slow leaves no heap of timers", quiet, function(dut)
  t.advance(0)
  dut.regs.LCR.value = 0x83
  dut.regs.DATA.value, dut.regs.IER.value = 0xff, 0xff
  dut.regs.LCR.value, dut.regs.IIR.value = 3, 1
  dut.regs.IER.value = TX
  t.eq(dut.regs.IIR.value, 0xc2)
  dut.regs.DATA.value = 65
  t.no(asserted(dut))
  t.advance(0.021) -- a character takes seconds
  t.eq(dut.regs.IIR.value, 0xc2)
end)

---- Two of them, back to back

local function line(options)
  local path = os.tmpname()
  os.remove(path)
  return { chardev = "unix:" .. path .. (options or "") }
end

local function pair(name, params, fn)
  t.test(name, { params = params, timeout = 60 }, function(dut)
    local far = t.device(nil, { chardev = params.chardev .. ",connect" })
    for _, port in ipairs { dut, far } do
      port.regs.LCR.value, port.regs.IIR.value, port.regs.MCR.value = 3, 0xc1, 3
      t.eventually(function() return port.regs.MSR.DCD end)
    end
    fn(dut, far)
  end)
end

local long <const> = line(",marks")
pair("a long text both ways, breaks in it", long, function(dut, far)
  local sent, got, breaks = { "", "" }, { "", "" }, { 0, 0 }
  local ports = { dut, far }
  for i = 1, 600 do
    for k, port in ipairs(ports) do
      local regs = port.regs
      local byte = i * (k == 1 and 7 or 255) & 0xff
      regs.DATA.value = byte
      sent[k] = sent[k] .. string.char(byte)
      if i % 100 == 0 then
        regs.LCR.BREAK = true
        regs.LCR.BREAK = false
      end
    end
  end
  for k, port in ipairs(ports) do
    t.eventually(function()
      local lsr = port.regs.LSR.value
      while lsr & 1 ~= 0 do
        local byte = port.regs.DATA.value
        if lsr & 0x10 ~= 0 then
          breaks[k] = breaks[k] + 1
        else
          got[k] = got[k] .. string.char(byte)
        end
        lsr = port.regs.LSR.value
      end
      return breaks[k] == 6 and #got[k] >= 600
    end, 5)
    t.eq(got[k], sent[3 - k])
  end
end)

local held <const> = line()
pair("who does not read holds up who sends, and nothing is lost", held, function(dut, far)
  local n, got = 0, {}
  while far.regs.LSR.THRE and n < 1000000 do
    for _ = 1, 16 do
      far.regs.DATA.value = n & 0x7f
      n = n + 1
    end
  end
  t.ok(n > 4096 + 16384)
  t.eventually(function()
    while dut.regs.LSR.value & 1 ~= 0 do got[#got + 1] = dut.regs.DATA.value end
    return #got >= n
  end, 60)
  t.eq(#got, n)
  for i, byte in ipairs(got) do
    if byte ~= i - 1 & 0x7f then t.fail(("byte %d is 0x%02x"):format(i, byte)) end
  end
  t.eventually(function() return far.regs.LSR.value == 0x60 end)
end)

local dropped <const> = line()
dropped.hangup = true
pair("who drops DTR hangs up, and is called again", dropped, function(dut, far)
  far.regs.MSR.value = 0
  dut.regs.MCR.DTR = false
  t.eventually(function() return far.regs.MSR.DDCD end)
  t.eventually(function() return far.regs.MSR.DCD end)
  dut.regs.MCR.DTR = true
  dut.regs.DATA.value = 65
  t.eventually(function() return far.regs.LSR.DR end)
  t.eq(far.regs.DATA.value, 65)
end)
