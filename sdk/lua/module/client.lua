-- SPDX-License-Identifier: BSD-3-Clause
-- vfu.client - a device as software sees it: connected to or started, its registers by name, memory lent to it, its
-- interrupts. On top of vfu.client.core, the C library call by call. What fails raises at the line of the script.
local core = require "vfu.client.core"

local client = {}
local inner = {} -- for vfu.test and vfu-client, not for scripts
core.client = inner

-- ---- errors

-- "FILE:LINE: " of the script: the innermost function that is not ours.
local function position()
  for level = 2, 64 do
    local info = debug.getinfo(level, "Sl")
    if not info then break end
    if info.currentline > 0 and info.source ~= "=vfu.client" and info.source ~= "=vfu.test" then
      return ("%s:%d: "):format(info.short_src, info.currentline), info.currentline
    end
  end
  return ""
end

local function fail(format, ...) error(position() .. (select("#", ...) > 0 and format:format(...) or format), 0) end

local function checked(value, text, ...)
  if value == nil then fail("%s", text) end
  return value, text, ...
end

local function hex(value, bytes) return ("0x%0" .. (bytes or 4) * 2 .. "x"):format(value) end

-- Reads of registers since the last look, for messages: { text =, value =, line = }.
local seen, watching = {}, false

function inner.watch(on) watching = on end

function inner.seen()
  local list = seen
  seen = {}
  return list
end

local function note(text, value)
  if not watching then return end
  local _, line = position()
  if #seen > 7 then table.remove(seen, 1) end
  seen[#seen + 1] = { text = text, value = value, line = line }
end

-- ---- options

local function options_of(given, known, what)
  for key in pairs(given or {}) do
    if not known[key] then
      local names = {}
      for name in pairs(known) do names[#names + 1] = name end
      table.sort(names)
      fail("%s has no option '%s': there are %s", what, tostring(key), table.concat(names, ", "))
    end
  end
  return given or {}
end

local function set(...)
  local out = {}
  for _, name in ipairs({ ... }) do out[name] = true end
  return out
end

local connect_options = set("timeout", "irq", "vectors", "map", "control", "twin", "no_multi", "json", "wait")
local spawn_options = set("timeout", "irq", "vectors", "map", "control", "twin", "no_multi", "json", "params", "args",
  "host", "folder", "echo", "start_timeout")
local memory_options = set("map", "access")

-- ---- regions

local regions = { bar0 = 0, bar1 = 1, bar2 = 2, bar3 = 3, bar4 = 4, bar5 = 5, rom = 6, config = 7, vga = 8 }

local function region_of(name)
  if math.type(name) == "integer" then return name end
  return regions[name] or fail("'%s' is no region: bar0 to bar5, rom, config, vga, or an index", tostring(name))
end

local widths = { [1] = "<I1", [2] = "<I2", [4] = "<I4", [8] = "<i8" }

-- An integer as the bits of so many bytes; negative numbers are complements.
local function bits_of(value, size)
  if type(value) == "boolean" then fail("a boolean is no value of %d bytes", size) end
  local bits = math.tointeger(value) or fail("%s is no integer", tostring(value))
  if size < 8 and (bits >= 1 << size * 8 or bits < -(1 << size * 8 - 1)) then
    fail("%s does not fit into %d byte%s", bits < 0 and bits or hex(bits, 1), size, size == 1 and "" or "s")
  end
  return size < 8 and bits & (1 << size * 8) - 1 or bits
end

local Window = {}
Window.__index = Window

function Window:read(offset, size) return self.dut:read_bytes(self.region, offset, size) end
function Window:write(offset, value, size) self.dut:write(self.region, offset, value, size) end

for bits, size in pairs({ u8 = 1, u16 = 2, u32 = 4, u64 = 8 }) do
  Window[bits] = function(self, offset, value)
    if value == nil then return self.dut:read(self.region, offset, size) end
    self.dut:write(self.region, offset, value, size)
  end
end

function Window:size() return checked(self.dut.conn:region(region_of(self.region))).size end

-- Where the capability is in config space: nil if there is none.
function Window:cap(id)
  if self:u16(6) & 0x10 == 0 then return nil end
  local at, steps = self:u8(0x34) & 0xfc, 0
  while at ~= 0 and steps < 48 do
    if self:u8(at) == id then return at end
    at, steps = self:u8(at + 1) & 0xfc, steps + 1
  end
end

-- ---- registers

local function swap(value, size)
  if size == 1 then return value end
  return (string.unpack((">I" .. size):gsub("I8", "i8"), string.pack(widths[size], size == 8 and value or value & (1 << size * 8) - 1)))
end

local function ones(width) return width >= 64 and -1 or (1 << width) - 1 end

local function names_of(list)
  local names = {}
  for name in pairs(list) do names[#names + 1] = name end
  table.sort(names)
  return #names > 12 and table.concat(names, ", ", 1, 12) .. ", ..." or table.concat(names, ", ")
end

-- What kind of access it takes to leave a field alone in a write of the whole register.
local neutral = { w1c = 0, w1s = 0, w1t = 0, w0c = -1 }

-- The register as it is written to set one field: the others keep what they have.
local function merged(reg, old, field, bits)
  for _, other in pairs(reg.fields) do
    if other ~= field and neutral[other.access] then
      local mask = ones(other.width) << other.lsb
      old = old & ~mask | neutral[other.access] & mask
    end
  end
  local mask = ones(field.width) << field.lsb
  return old & ~mask | bits << field.lsb & mask
end

local function field_value(field, bits)
  local name = field.names[bits]
  if name then return name end
  if field.width == 1 and not next(field.names) then return bits == 1 end
  return bits
end

local function field_bits(field, label, value)
  local bits
  if type(value) == "string" then
    bits = field.values[value] or fail("%s has no value '%s': there are %s", label, value, names_of(field.values))
  elseif type(value) == "boolean" then
    if field.width ~= 1 then fail("%s has %d bits: a boolean is for one", label, field.width) end
    bits = value and 1 or 0
  else
    bits = math.tointeger(value) or fail("%s: %s is no integer", label, tostring(value))
    if field.width < 64 and (bits < 0 or bits > ones(field.width)) then
      fail("%s has %d bits: %s does not fit", label, field.width, hex(bits, 1))
    end
  end
  return bits
end

-- In one access, or where its region takes none so wide, in as few as there can be, lowest address first.
local function width_at(reg, offset, left)
  local width = 8
  while width > 0 and (width > left or not reg.widths[width] or offset % width ~= 0) do width = width // 2 end
  return width > 0 and width or left -- which the device will refuse, or answer as it does what it does not take
end

local function reg_read(dut, reg, offset)
  local value, done = 0, 0
  while done < reg.size do
    local width = width_at(reg, offset + done, reg.size - done)
    value = value | checked(dut.conn:get(reg.region, offset + done, width)) << 8 * done
    done = done + width
  end
  return reg.big_endian and swap(value, reg.size) or value
end

local function reg_write(dut, reg, offset, value)
  local done = 0
  value = bits_of(value, reg.size)
  if reg.big_endian then value = swap(value, reg.size) end
  while done < reg.size do
    local width = width_at(reg, offset + done, reg.size - done)
    checked(dut.conn:put(reg.region, offset + done, width, value >> 8 * done & ones(8 * width)))
    done = done + width
  end
end

local function register(dut, reg, offset, label)
  local place = ("%s (%s+%s)"):format(label, reg.where, hex(offset, 1))
  local function field_of(key)
    return reg.fields[key] or fail("%s has no field %s%s", label, tostring(key),
      next(reg.fields) and ": there are value and " .. names_of(reg.fields) or ": there is value")
  end
  return setmetatable({}, {
    __name = "register",
    __tostring = function() return place end,
    __index = function(_, key)
      if key == "value" then
        local value = reg_read(dut, reg, offset)
        note(place, value)
        return value
      end
      local field = field_of(key)
      local value = field_value(field, reg_read(dut, reg, offset) >> field.lsb & ones(field.width))
      note(("%s.%s (%s+%s)"):format(label, key, reg.where, hex(offset, 1)), value)
      return value
    end,
    __newindex = function(_, key, value)
      if key == "value" then return reg_write(dut, reg, offset, value) end
      local field = field_of(key)
      local bits = field_bits(field, label .. "." .. key, value)
      reg_write(dut, reg, offset, merged(reg, reg.access == "wo" and 0 or reg_read(dut, reg, offset), field, bits))
    end,
  })
end

local function array(label, count, make)
  local items = {}
  return setmetatable({}, {
    __name = "array",
    __len = function() return count end,
    __index = function(_, i)
      if math.type(i) ~= "integer" or i < 0 or i >= count then
        fail("%s[%s]: it has %d, from 0 to %d", label, tostring(i), count, count - 1)
      end
      items[i] = items[i] or make(i)
      return items[i]
    end,
    __newindex = function(_, i) fail("%s[%s] is a register: set its .value, or a field", label, tostring(i)) end,
  })
end

-- A namespace of registers: `list` is what the map says, `make` turns an entry into what the script sees.
local function namespace(what, list, make)
  local made = {}
  return setmetatable({}, {
    __name = "registers",
    __index = function(_, name)
      if not made[name] then
        made[name] = make(list[name] or fail("%s no register %s: there are %s", what, tostring(name), names_of(list)))
      end
      return made[name]
    end,
    __newindex = function(_, name)
      if not list[name] then fail("%s no register %s: there are %s", what, tostring(name), names_of(list)) end
      fail("%s is a register: set its .value, or a field", name)
    end,
    __pairs = function(self)
      return function(_, key)
        local name = next(list, key)
        return name, name and self[name]
      end, self, nil
    end,
  })
end

local all_widths = { [1] = true, [2] = true, [4] = true, [8] = true }

local function read_widths(map)
  local of = {}
  for _, region in ipairs(map.regions or {}) do
    of[region.name] = region.widths and set(table.unpack(region.widths))
  end
  return of
end

local function read_register(entry, widths_of)
  local reg = {
    name = entry.name, where = entry.region, region = region_of(entry.region), offset = math.tointeger(tonumber(entry.offset)),
    size = entry.size, access = entry.access, count = entry.count, stride = entry.stride and math.tointeger(tonumber(entry.stride)),
    widths = widths_of[entry.region] or all_widths, fields = {},
  }
  for _, name in ipairs(entry.flags or {}) do reg[name] = true end
  for _, f in ipairs(entry.fields or {}) do
    local field = { lsb = f.lsb, width = f.width, access = f.access, names = {}, values = {} }
    for _, e in ipairs(f.enums or {}) do
      local value = math.tointeger(tonumber(e.value))
      field.names[value], field.values[e.name] = e.name, value
    end
    reg.fields[f.name] = field
  end
  return reg
end

-- The object of --dump=json as { NAME = register or group }.
local function read_map(map)
  local top, groups, widths_of = {}, {}, read_widths(map)
  for _, g in ipairs(map.groups or {}) do
    groups[g.name] = { name = g.name, count = g.count, stride = math.tointeger(tonumber(g.stride)),
      offset = math.tointeger(tonumber(g.offset)), registers = {} }
    top[g.name] = groups[g.name]
  end
  for _, entry in ipairs(map.registers or {}) do
    local reg = read_register(entry, widths_of)
    if entry.group then groups[entry.group].registers[reg.name] = reg else top[reg.name] = reg end
  end
  return top
end

local function make_registers(dut, map)
  local function of(reg, base, prefix)
    local label = prefix .. reg.name
    if not reg.count or reg.count == 0 then return register(dut, reg, base + reg.offset, label) end
    return array(label, reg.count, function(i)
      return register(dut, reg, base + reg.offset + i * reg.stride, ("%s[%d]"):format(label, i))
    end)
  end
  return namespace("the device has", read_map(map), function(entry)
    if not entry.registers then return of(entry, 0, "") end
    local function member(i)
      local prefix = ("%s[%d]."):format(entry.name, i)
      return namespace(("%s[%d] has"):format(entry.name, i), entry.registers, function(reg)
        return of(reg, entry.offset + i * entry.stride, prefix)
      end)
    end
    return array(entry.name, math.max(entry.count or 1, 1), member)
  end)
end

-- ---- the device

local Device = {}

local lazy = {}
function lazy.regs(dut) return make_registers(dut, dut:map()) end
for name in pairs(regions) do
  lazy[name] = function(dut) return setmetatable({ dut = dut, region = name }, Window) end
end

local Device_meta = {
  __name = "device",
  __index = function(self, key)
    if Device[key] then return Device[key] end
    if not lazy[key] then return nil end
    local value = lazy[key](self)
    rawset(self, key, value)
    return value
  end,
  __gc = function(self) if self.server_process then self.server_process:free() end end,
}

-- The error of a device whose server has ended says so.
local function explain(dut, text)
  if not dut.server_process or not tostring(text):find("closed the connection", 1, true) then return text end
  for _ = 1, 200 do
    local how = dut.server_process:ended()
    if how then return ("%s: %s ended with %s"):format(text, dut.program, how) end
    core.sleep(0.005)
  end
  return text
end

-- conn's methods with failures raised at the script's line.
local function raising(dut, conn)
  return setmetatable({ raw = conn }, { __index = function(self, name)
    local fn = conn[name]
    local function call(_, ...)
      local function finish(value, text, ...)
        if value == nil and text ~= nil then fail("%s", explain(dut, text)) end
        return value, text, ...
      end
      return finish(fn(conn, ...))
    end
    rawset(self, name, call)
    return call
  end })
end

local function check_offset(offset)
  return math.tointeger(offset) or fail("%s is no offset", tostring(offset))
end

function Device:read(region, offset, size)
  size = size or 4
  local index = region_of(region)
  check_offset(offset)
  local value = widths[size] and self.conn:get(index, offset, size) or self.conn:read(index, offset, size)
  note(("%s+%s"):format(tostring(region), hex(offset, 1)), value)
  return value
end

function Device:read_bytes(region, offset, size) return self.conn:read(region_of(region), check_offset(offset), size) end

function Device:write(region, offset, value, size)
  local index = region_of(region)
  check_offset(offset)
  if type(value) == "string" then
    self.conn:write(index, offset, value)
  else
    size = size or 4
    if not widths[size] then fail("integers are written as 1, 2, 4 or 8 bytes, not %s", tostring(size)) end
    self.conn:put(index, offset, size, bits_of(value, size))
  end
end

function Device:post(region, offset, value, size)
  size = size or 4
  if type(value) ~= "string" then
    if not widths[size] then fail("integers are written as 1, 2, 4 or 8 bytes, not %s", tostring(size)) end
    value = string.pack("<i8", bits_of(value, size)):sub(1, size)
  end
  self.conn:post(region_of(region), check_offset(offset), value)
end

function Device:flush() self.conn:flush() end

-- { {region, offset, size}, ... }: integers, or strings for sizes that no integer has, in order.
function Device:read_many(list)
  local flat = {}
  for i, r in ipairs(list) do
    flat[3 * i - 2], flat[3 * i - 1], flat[3 * i] = region_of(r[1]), check_offset(r[2]), r[3] or 4
  end
  local out = self.conn:read_many(flat)
  for i, bytes in ipairs(out) do
    local format = widths[flat[3 * i]]
    if format then out[i] = string.unpack(format, bytes) end
  end
  return out
end

-- { {region, offset, value, size}, ... } in one message: how many were done, 0 if posted.
function Device:write_multi(list, posted)
  local flat = {}
  for i, w in ipairs(list) do
    local size = w[4] or 4
    flat[4 * i - 3], flat[4 * i - 2], flat[4 * i - 1] = region_of(w[1]), check_offset(w[2]), size
    flat[4 * i] = bits_of(w[3], size)
  end
  return (self.conn:write_multi(flat, posted))
end

function Device:reset() self.conn:reset() end
function Device:timeout(seconds) self.conn:timeout(seconds) end
function Device:negotiated() return self.conn:server() end
function Device:info() return self.conn:device() end
function Device:region(name) return self.conn:region(region_of(name)) end
function Device:request(command, body, posted) return (self.conn:request(command, body, posted)) end
function Device:raw_send(bytes, piece) self.conn:raw_send(bytes, piece) end
function Device:raw_recv(seconds) return (self.conn:raw_recv(seconds)) end

-- Memory

local access_flags = { r = 1, w = 2, rw = 3 }

function Device:memory(address, size, given)
  local options = options_of(given, memory_options, "memory")
  local flags = access_flags[options.access or "rw"] or fail("access is \"r\", \"w\" or \"rw\", not %s", tostring(options.access))
  if options.map == false then flags = flags | 1 << 8 end
  return (self.conn:memory(check_offset(address), size, flags))
end

function Device:serve(seconds) return (self.conn:serve(seconds or 0)) end
function Device:dma_stats() return self.conn:dma_stats() end

-- Migration

function Device:save(stopped) return (self.conn:save(not stopped)) end
function Device:load(state) self.conn:load(state) end

-- Interrupts

local kinds = { intx = 0, msi = 1, msix = 2 }

function Device:arm(kind, vectors)
  if kind ~= nil and kind ~= "best" and not kinds[kind] then
    fail("'%s' is no kind of interrupt: intx, msi, msix, or best", tostring(kind))
  end
  self:disarm()
  for _, name in ipairs(kinds[kind] and { kind } or { "msix", "msi", "intx" }) do
    local count, automasked = self.conn:irq_info(kinds[name])
    if count > 0 then
      self.conn:irq_arm(kinds[name], math.min(count, vectors or 64))
      self.irq_kind, self.automasked = name, automasked
      return name
    end
  end
  if kinds[kind] then fail("the device has no %s", kind) end
end

function Device:disarm()
  if self.irq_kind then self.conn:irq_disarm(kinds[self.irq_kind]) end
  self.irq_kind, self.counts, self.masked = nil, {}, {}
end

local function take_irq(dut, vector, seconds)
  if not dut.irq_kind then fail("no interrupt is armed: the device has none, or dut:arm() was not called") end
  -- the host masks INTx when it signals; with the mask off it comes again while the device asserts it
  if dut.masked[vector] then
    dut.masked[vector] = nil
    dut.conn:irq_mask(kinds[dut.irq_kind], vector, false)
  end
  local n = dut.conn:irq_wait(kinds[dut.irq_kind], vector, seconds)
  dut.counts[vector] = (dut.counts[vector] or 0) + n
  if n > 0 and dut.automasked then dut.masked[vector] = true end
  return n
end

function Device:wait_irq(vector, seconds)
  local n = take_irq(self, vector or 0, seconds or 1.0)
  return n > 0 and n
end

function Device:irq_count(vector)
  take_irq(self, vector or 0, 0)
  return self.counts[vector or 0]
end

-- The host behind it

function Device:pid() return self.server_process and self.server_process:pid() or fail("this device's server was not started here") end
function Device:log() return self.server_process and self.server_process:log() or fail("this device's server was not started here") end

function Device:control(command, arguments, seconds)
  if not self.control_socket then
    local path = self.options.control or self.path .. ".control"
    local socket, text = core.control(path)
    if not socket then fail("no control socket at %s (%s): is the server a vfu-host?", path, text) end
    self.control_socket, self.control_id = socket, 0
  end
  self.control_id = self.control_id + 1
  local request = { id = self.control_id, cmd = command }
  for key, value in pairs(arguments or {}) do request[key] = value end
  local reply, text = self.control_socket:call(request, self.conn.raw, seconds)
  if not reply then
    self.control_socket:close()
    self.control_socket = nil
    fail("control command %s: %s", command, text)
  end
  if not reply.ok then fail("control command %s: %s", command, reply.error or "it failed") end
  return reply
end

function Device:eval(expr) return self:control("eval", { expr = expr }).value end

-- Virtual time: stands still from the first call on, but for what is advanced here.
function Device:advance(seconds)
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds <= 9e9) then fail("time is advanced by 0 to 9e9 seconds") end
  return self:control("advance", { ns = math.floor(seconds * 1e9 + 0.5) }, math.max(self.options.timeout or 5, 60))
end

local function quoted(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

local maps = {} -- by command line: one look for all devices that are the same

-- What --dump=json prints for the command line.
function inner.dump(argv)
  local words = {}
  for i, word in ipairs(argv) do words[i] = quoted(word) end
  local line = table.concat(words, " ") .. " --dump=json 2>/dev/null"
  if not maps[line] then
    local pipe = io.popen(line)
    local text = pipe:read("a")
    if not pipe:close() then return nil end
    maps[line] = core.decode(text)
  end
  return maps[line]
end

function Device:map()
  if self.options.map then return self.options.map end
  local map = self.dump_argv and inner.dump(self.dump_argv)
  if not map then
    local socket = core.control(self.options.control or self.path .. ".control")
    if not socket then fail("no register map: the server is no vfu-host that tells it. Give one as {map = ...}") end
    socket:close()
    map = self:control("map").map
  end
  self.options.map = map
  return map
end

function Device:reconnect()
  self:close()
  checked(self.conn.raw:connect(self.path))
  if self.options.irq ~= "none" then self:arm(self.options.irq, self.options.vectors) end
end

-- The connection; the server goes on, and the object may reconnect.
function Device:close()
  if self.control_socket then self.control_socket:close() end
  self.control_socket, self.irq_kind, self.counts, self.masked = nil, nil, {}, {}
  self.conn.raw:close()
end

-- Ends the server: "status 0", true; or how else it ended, false.
function Device:stop()
  self.stopped = true
  self:close()
  if not self.server_process then return nil end
  local how, good = self.server_process:stop()
  if not how then return good, false end
  return how, good
end

function Device:kill()
  self.stopped = true
  if self.server_process then self.server_process:kill() end
end

local function new_device(path, conn, options)
  local dut = { path = path, options = options, counts = {}, masked = {} }
  dut.conn = raising(dut, conn)
  return setmetatable(dut, Device_meta)
end

-- ---- the module

-- Connects to the server at the socket.
function client.connect(path, given)
  local options = options_of(given, connect_options, "connect")
  local conn = checked(core.connect(path, options))
  local dut = new_device(path, conn, options)
  if options.irq ~= "none" then dut:arm(options.irq, options.vectors) end
  return dut
end

-- The connection that vfu-client has made. Its interrupts are left as they are.
function inner.adopt(path, conn) return new_device(path, conn, {}) end

local function param(value) return type(value) == "boolean" and (value and "on" or "off") or tostring(value) end

-- The command line of a vfu-host with the plugin.
function inner.command(plugin, options)
  local argv, keys = { options.host or core.host, "--plugin", plugin }, {}
  for key in pairs(options.params or {}) do keys[#keys + 1] = key end
  table.sort(keys)
  for _, key in ipairs(keys) do argv[#argv + 1] = ("%s=%s"):format(key, param(options.params[key])) end
  for _, word in ipairs(options.args or {}) do argv[#argv + 1] = word end
  return argv
end

-- Starts a server and connects to it: a plugin's name or file for vfu-host, or the words of another server's command
-- line, with {socket} for the socket's path.
function client.spawn(what, given)
  local options = options_of(given, spawn_options, "spawn")
  local copy = {}
  for key, value in pairs(options) do copy[key] = value end
  options = copy
  local argv, dump = what, nil
  if type(what) == "string" then
    dump = inner.command(what, options)
    argv = { table.unpack(dump) }
    argv[#argv + 1], argv[#argv + 2] = "--socket-path", "{socket}"
  end
  local process, text, _, log = core.spawn(argv, { timeout = options.start_timeout or 5, folder = options.folder or inner.folder, echo = options.echo })
  if not process then fail("%s%s", text, log and log ~= "" and "; it said:\n" .. log:gsub("\n$", "") or "") end
  local conn, why = core.connect(process:socket(), { timeout = options.timeout, twin = options.twin, wait = true,
    no_multi = options.no_multi, json = options.json })
  if not conn then
    local how = process:ended()
    process:free()
    fail("%s%s", why, how and ": " .. argv[1] .. " ended with " .. how or "")
  end
  local dut = new_device(process:socket(), conn, options)
  dut.server_process, dut.program, dut.dump_argv = process, argv[1]:match("[^/]*$"), dump
  if options.irq ~= "none" then dut:arm(options.irq, options.vectors) end
  return dut
end

client.hex = hex
inner.position, inner.fail = position, fail
inner.classes = { ["vfu.Dut"] = Device, ["vfu.Window"] = Window }
inner.options = { ["vfu.ConnectOptions"] = connect_options, ["vfu.SpawnOptions"] = spawn_options,
  ["vfu.MemoryOptions"] = memory_options }
return client
