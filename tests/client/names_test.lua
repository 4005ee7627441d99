-- SPDX-License-Identifier: BSD-3-Clause
-- What scripts can use is what sdk/lua/library defines, both ways; and the modules' calls that no device's test makes.
local t = require "vfu.test"
local client = require "vfu.client"
local core = require "vfu.client.core"

local root = os.getenv("VFU_SRCDIR") or "."
local arg_before = arg
arg = nil
local reference = dofile(root .. "/sdk/lua/reference.lua")
arg = arg_before

local function defined()
  local names = {}
  local all = reference.names(reference.parse({ root .. "/sdk/lua/library/client.lua", root .. "/sdk/lua/library/test.lua" }))
  for name, kind in pairs(all) do
    if kind == "function" or kind == "field" then names[name] = true end
  end
  return names
end

t.device("null")
t.test("every name is defined, and every definition there", function(dut)
  local names, missing = defined(), {}
  local function mark(name)
    if not names[name] then missing[#missing + 1] = name end
    names[name] = nil
  end
  local function mark_all(class, separator, list)
    for name in pairs(list) do
      if name:sub(1, 2) ~= "__" then mark(class .. separator .. name) end
    end
  end
  mark_all("vfu.client", ".", client)
  mark_all("vfu.test", ".", t)
  for class, list in pairs(core.client.classes) do mark_all(class, ":", list) end
  for class, list in pairs(core.client.options) do mark_all(class, ".", list) end
  mark_all("vfu.Memory", ":", getmetatable(dut:memory(0, 4096)))
  -- SpawnOptions has those of ConnectOptions, and there they are described
  local left = {}
  for _, name in ipairs(missing) do
    if not name:find("^vfu%.SpawnOptions%.") or not defined()[name:gsub("Spawn", "Connect")] then left[#left + 1] = name end
  end
  t.eq(left, {}, "not defined")
  for _, name in ipairs({ "vfu.Dut.regs", "vfu.Dut.config", "vfu.Dut.irq_kind" }) do mark(name) end
  t.eq(names, {}, "not there")
end)

t.test("raw messages, requests, what was negotiated", function(dut)
  t.ok(dut:negotiated().write_multiple)
  t.eq(dut:info().regions >= 8, true)
  t.eq(dut:info().irqs, 5)
  t.eq(#dut:request(4, ("<I4I4I4I4"):pack(16, 0, 0, 0)), 16)
  dut:raw_send(("<I2I2I4I4I4"):pack(77, 4, 32, 0, 0) .. ("<I4I4I4I4"):pack(16, 0, 0, 0), 5)
  local id, command = ("<I2I2"):unpack(dut:raw_recv(5))
  t.eq({ id, command }, { 77, 4 })
end)

t.test("memory comes and goes", function(dut)
  local mem = dut:memory(0x1000, 8192)
  t.eq(#mem, 8192)
  t.eq(mem:address(), 0x1000)
  mem:u64(8, -2)
  t.eq({ mem:u8(8), mem:u16(8), mem:u32(8), mem:u64(8) }, { 0xfe, 0xfffe, 0xfffffffe, -2 })
  t.raises(function() mem:u32(8190) end, "4 bytes at offset 8190 leave the memory of 8192 bytes")
  t.raises(function() mem:read(-1, 1) end, "leave the memory")
  t.raises(function() mem:write(8192, "x") end, "leave the memory")
  t.raises(function() dut:memory(0x1000, 100) end, "4096")
  mem:free()
  t.raises(function() mem:u8(0) end, "no longer lent")
  mem = dut:memory(0x1000, 4096)
  dut:close()
  t.raises(function() mem:u8(0) end, "no longer lent")
end)

t.test("servers of all kinds", function()
  t.raises(function() client.spawn({ "/nowhere/server", "{socket}" }) end, "cannot execute /nowhere/server: No such file")
  t.raises(function() client.spawn({ "sh", "-c", "echo no >&2; exit 4" }) end, "sh ended with status 4 before it listened; it said:\nno")
  t.raises(function() client.spawn({ "sh", "-c", "exec sleep 100" }, { start_timeout = 0.05 }) end, "did not listen")
  local other = client.spawn({ core.host, "--plugin", "null", "--socket-path", "{socket}" }, { irq = "none" })
  t.eq(other.config:u16(0), 0x1234)
  t.eq(other:map().device.name, "null") -- through its control socket
  local how, good = other:stop()
  t.eq({ how, good }, { "status 0", true })
  t.raises(function() client.connect("/nowhere/at all") end, "No such file or directory")
  t.raises(function() client.connect("x", { tiemout = 1 }) end, "connect has no option 'tiemout'")
end)

t.test("a device that the test stops is no failure", function(dut)
  dut:kill()
  t.raises(function() dut.config:u16(0) end, "closed the connection")
end)

local seen = {}
t.before(function() seen[#seen + 1] = "before" end)
t.after(function() t.eq(seen[1], "before") end)
t.test("hooks run", function() t.eq(seen, { "before" }) end)
t.test("no test in a test", function()
  t.raises(function() t.test("inner", function() end) end, "a test in a test")
end)

t.test("registers wider than their region's accesses", function()
  local dut = t.device("narrow.lua")
  local r = dut.regs
  r.WIDE.value = 0x1122334455667788
  t.eq(r.WIDE.value, 0x1122334455667788)
  t.eq(dut:read("bar0", 0x0c), 0x11223344)
  r.WIDE.HIGH = 0xffffffff
  t.eq({ r.WIDE.HIGH, r.WIDE.LOW }, { 0xffffffff, 0x55667788 })
  r.BIG.value = 0x1122334455667788
  t.eq({ r.BIG.value, dut:read("bar0", 0x10) }, { 0x1122334455667788, 0x44332211 })
  r.LAST.value = -2
  r.WORD.value = 0xa1b2c3d4
  t.eq({ r.LAST.value, r.WORD.value }, { -2, 0xa1b2c3d4 })
  r.RING[1].value = 5 << 56
  t.eq(r.RING[1].value, 5 << 56)
  t.eq(dut:eval("self.writes"), '"fffffffffffffffe c3d4 a1b2c3d4 "')
  -- there is no width for it: as any access that the region does not take
  r.HALF.value = 7
  t.eq(r.HALF.value, 0)
end)
