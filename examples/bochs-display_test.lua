-- SPDX-License-Identifier: BSD-3-Clause
-- The display as Linux's bochs driver uses it; what is shown is asked for as PNG files.
local t = require "vfu.test"

local function mode(dut, width, height, bpp)
  local r = dut.regs
  r.ENABLE.value = 0
  r.BPP.value, r.XRES.value, r.YRES.value = bpp, width, height
  r.ENABLE.value = 0x41
end

-- The size of the picture on the screen, or nil and why there is none.
local function screen(dut)
  local path = os.tmpname()
  local ok, answer = pcall(dut.control, dut, "screen", { file = path })
  local file = io.open(path, "rb")
  local head = file:read(33)
  file:close()
  os.remove(path)
  if not ok and tostring(answer):find("libpng", 1, true) then t.skip("this host saves no pictures") end
  if not ok then return nil, answer end
  t.eq(head:sub(1, 8), "\x89PNG\r\n\x1a\n")
  return string.unpack(">I4I4", head, 17)
end

t.test("it is the device", function(dut)
  t.eq(dut.config:u32(0), 0x11111234)
  t.eq(dut.config:u32(8), 0x03800002)
  t.eq(dut.regs.ID.value, 0xb0c5)
  t.eq(dut.regs.MEMORY_64K.value, 256)
  t.eq(dut.regs.QEXT_SIZE.value, 8)
end)

t.test("an id is kept if there is such a version", function(dut)
  dut.regs.ID.value = 0xb0c0
  t.eq(dut.regs.ID.value, 0xb0c0)
  dut.regs.ID.value = 0x1234
  t.eq(dut.regs.ID.value, 0xb0c0)
end)

t.test("the EDID is whole, and names the mode", { params = { xres = 1280, yres = 800 } }, function(dut)
  local edid, sum = dut:read_bytes("bar2", 0, 128), 0
  t.eq(edid:sub(1, 8), "\0\xff\xff\xff\xff\xff\xff\0")
  for i = 1, #edid do sum = sum + edid:byte(i) end
  t.eq(sum % 256, 0)
  t.eq(edid:byte(57) | edid:byte(59) >> 4 << 8, 1280)
  t.eq(edid:byte(60) | edid:byte(62) >> 4 << 8, 800)
  t.eq(edid:sub(109, 126), "\0\0\0\x10" .. ("\0"):rep(14), "the last descriptor has nothing in it")
  t.eq(dut:read_bytes("bar2", 128, 128), ("\0"):rep(128))
end)

t.test("it shows what a mode says", function(dut)
  t.no(screen(dut))
  for _, m in ipairs { { 640, 480, 32 }, { 800, 600, 16 }, { 1024, 768, 24 }, { 320, 200, 8 }, { 64, 64, 15 } } do
    mode(dut, m[1], m[2], m[3])
    local width, height = screen(dut)
    t.eq(width, m[1])
    t.eq(height, m[2])
  end
  t.eq(dut.regs.VIRT_WIDTH.value, 64)
  t.eq(dut.regs.VIRT_HEIGHT.value, 0xffff)
end)

t.test("the attribute controller blanks it", function(dut)
  mode(dut, 640, 480, 32)
  t.ok(screen(dut))
  t.eq(dut.regs.STATUS.value, 0)
  dut.regs.ATTRIBUTE.value = 0
  t.no(screen(dut))
  t.eq(dut.regs.STATUS.value, 0)
  dut.regs.ATTRIBUTE.value = 0x20
  t.ok(screen(dut))
end)

t.test("it tells what it can", function(dut)
  mode(dut, 640, 480, 32)
  dut.regs.ENABLE.value = 0x43
  t.eq(dut.regs.XRES.value, 8192)
  t.eq(dut.regs.BPP.value, 32)
  dut.regs.ENABLE.value = 0x41
  t.eq(dut.regs.XRES.value, 640)
end)

t.test("the palette reads back", function(dut)
  dut.regs.DAC_WRITE.value = 255
  for _, v in ipairs { 1, 2, 3, 4 } do dut.regs.DAC_DATA.value = v end
  dut.regs.DAC_READ.value = 255
  for _, v in ipairs { 1, 2, 3, 4 } do t.eq(dut.regs.DAC_DATA.value, v) end
end)

t.test("modes that cannot be are blank, and it goes on", { params = { vgamem = "1M" } }, function(dut)
  for _, m in ipairs { { 0, 0, 32 }, { 0xffff, 0xffff, 32 }, { 1024, 768, 32 }, { 64, 64, 7 }, { 8192, 8192, 8 }, { 0, 1, 8 } } do
    mode(dut, m[1], m[2], m[3])
    t.no(screen(dut))
  end
  mode(dut, 640, 400, 32)
  t.ok(screen(dut))
  dut.regs.Y_OFFSET.value = 0xffff
  t.no(screen(dut))
  dut.regs.Y_OFFSET.value, dut.regs.VIRT_WIDTH.value = 0, 0xffff
  t.no(screen(dut))
  dut.regs.VIRT_WIDTH.value = 640
  t.ok(screen(dut))
  t.match(dut:log(), "no picture of 65535x65535")
end)

t.test("a reset blanks it, and a saved state shows it again", function(dut)
  mode(dut, 640, 480, 32)
  local state = dut:save()
  dut:reset()
  t.no(screen(dut))
  dut:load(state)
  local width, height = screen(dut)
  t.eq(width, 640)
  t.eq(height, 480)
end)

t.test("bad outputs are told", function()
  t.raises(function() t.device("bochs-display.lua", { display = "tv:1" }) end, "no output 'tv:1'")
end)
