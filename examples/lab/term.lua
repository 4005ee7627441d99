-- SPDX-License-Identifier: BSD-3-Clause
-- What changes from term to term: ids, offsets, bits, the polynomial, the depth of the FIFO. All of it follows from the
-- seed, so that another number makes another device. The reference, the skeleton and the hidden test read it from here.
local seed = 1

-- A small generator of our own (xorshift): the same numbers with every Lua.
local state = (seed * 0x9e3779b97f4a7c15) ~ 0x6c61627365656421
local function random(n)
  state = state ~ (state << 13)
  state = state ~ (state >> 7)
  state = state ~ (state << 17)
  return (state >> 11) % n
end

local function shuffled(list)
  for i = #list, 2, -1 do
    local j = random(i) + 1
    list[i], list[j] = list[j], list[i]
  end
  return list
end

local term = {
  seed       = seed,
  device     = 0x4c00 | random(256),
  id         = 0x44470000 | random(0x10000),
  polynomial = ({ 0xedb88320, 0x82f63b78, 0xeb31d82e, 0xd5828281 })[random(4) + 1],
  depth      = ({ 4, 8, 16 })[random(3) + 1],
  at         = { ID = 0x00 }, -- offsets
  bit        = {},            -- bits, as bit.CTRL.RUN
}

-- ADDR has 8 bytes: it gets a slot of its own, before the others are dealt out.
local slots = { 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x28, 0x2c }
term.at.ADDR = 0x30 + 8 * random(2)
shuffled(slots)
for i, name in ipairs({ "CTRL", "STATUS", "DATA", "INIT", "RESULT", "COUNT", "LENGTH", "IRQ", "ENABLE" }) do
  term.at[name] = slots[i]
end

for _, row in ipairs({ { "CTRL", "RUN", "GO", "CLEAR" }, { "STATUS", "BUSY", "FAULT", "EMPTY", "FULL" },
  { "IRQ", "DONE", "DRAINED", "OVERRUN" } }) do
  local bits = shuffled({ 0, 1, 2, 3, 4, 5, 6, 7 })
  local of = {}
  for i = 2, #row do of[row[i]] = bits[i - 1] end
  term.bit[row[1]] = of
end

return term
