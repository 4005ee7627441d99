-- A good map, and hooks that go wrong in every way: one never ends, one cannot be stopped, one takes memory, one logs for
-- ever, one fails.
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

function digest.write:DATA()
  while true do end
end

function digest.write:INIT()
  return (("a"):rep(40):find((".-"):rep(40) .. "b"))
end

function digest.write:LENGTH()
  local hoard = {}
  for i = 1, 1 << 40 do hoard[i] = ("x"):rep(1 << 20) .. i end
end

function digest.write:CTRL()
  while true do print(("flood "):rep(1000)) end
end

function digest.write:ENABLE() error("<&]]>\"',\n=1+1") end

return digest
