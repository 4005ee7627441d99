-- SPDX-License-Identifier: BSD-3-Clause
-- A saved state comes from outside: a hook that waits in it may be any, with any data.
local t = require "vfu.test"

-- The sum at the end of an image: see core/device/image.c.
local function forge(image)
  local n, at, sum = #image - 8, 1, 0xcbf29ce484222325
  sum = sum ~ n
  while n > 0 do
    local k, word = math.min(n, 8), 0
    for i = k - 1, 0, -1 do word = word << 8 | image:byte(at + i) end
    sum = (sum ~ word) * 0x9e3779b97f4a7c15
    sum = sum ~ sum >> 29
    at, n = at + k, n - k
  end
  return image:sub(1, -9) .. string.pack("<i8", sum)
end

-- X hook index offset size value key: see lua/save.c
local waiting <const> = "X" .. string.pack("<I4", 1)

t.test("hooks that wait in a forged state", function(dut)
  dut.regs.LIVE.value = 5
  local state = dut:save(true)
  local at = state:find(waiting, 1, true)
  t.ok(at, "the write that waits is saved")
  local other = t.device()
  for hook = 0, 6 do
    for _, size in ipairs { 4, 64, 0xffffffff } do
      other:load(forge(state:sub(1, at) .. string.pack("<I4", hook) .. state:sub(at + 5, at + 16) ..
        string.pack("<I4", size) .. state:sub(at + 21)))
      t.eq(other.regs.ID.value, 0x010000ed)
    end
  end
end)
