-- SPDX-License-Identifier: BSD-3-Clause
-- vfu.test - tests of a device: X_test.lua drives X.lua or X.so beside it, or the plugin X. vfu-client test runs a file once
-- to learn its tests, and then each test in a process of its own, with a device of its own: core.runner is its side.
local core = require "vfu.client.core"
local client = require "vfu.client"
local inner = core.client

local t = {}
local runner = {}
core.runner = runner

local tests, befores, afters = {}, {}, {}
local file = "" -- the path as given
local default   -- the device of the tests that follow
local running   -- { duts = {...} } while a test runs

local position, fail, hex = inner.position, inner.fail, client.hex
local Skip = {}

-- ---- how values look

local function show(value)
  if math.type(value) == "integer" then
    if value >= 0 and value < 10 then return tostring(value) end
    return ("0x%x (%d)"):format(value, value)
  elseif type(value) == "string" then
    local text = #value > 200 and value:sub(1, 200) or value
    text = text:gsub('[%c"\\\128-\255]', function(c)
      return c == '"' and '\\"' or c == "\\" and "\\\\" or c == "\n" and "\\n" or ("\\x%02x"):format(c:byte())
    end)
    return ('"%s"%s'):format(text, #value > 200 and (" ... (%d bytes)"):format(#value) or "")
  elseif type(value) == "table" and not getmetatable(value) then
    local items, n = {}, 0
    for k, v in pairs(value) do
      n = n + 1
      if n > 16 then
        items[n] = "..."
        break
      end
      local shown = type(v) == "table" and "{...}" or show(v)
      items[n] = math.type(k) == "integer" and shown or ("%s = %s"):format(tostring(k), shown)
    end
    return "{ " .. table.concat(items, ", ") .. " }"
  end
  return tostring(value)
end

-- nil if they are equal, else where they differ and what is there.
local function difference(actual, expected, path)
  if actual == expected then return nil end
  if type(actual) ~= "table" or type(expected) ~= "table" or getmetatable(actual) or getmetatable(expected) then
    return path, actual, expected
  end
  local keys = {}
  for key in pairs(expected) do keys[key] = true end
  for key in pairs(actual) do keys[key] = true end
  for key in pairs(keys) do
    local where, a, e = difference(actual[key], expected[key], ("%s[%s]"):format(path, type(key) == "string" and '"' .. key .. '"' or tostring(key)))
    if where then return where, a, e end
  end
end

-- The register whose read on this very line gave the value.
local function name_of(value, reads)
  local _, line = position()
  for i = #reads, 1, -1 do
    if reads[i].line == line and rawequal(reads[i].value, value) then return reads[i].text end
  end
end

local function said(what) return what and tostring(what) .. ": " or "" end

local function strings_differ(actual, expected)
  local at = 1
  while at <= #actual and actual:byte(at) == expected:byte(at) do at = at + 1 end
  return (" (%d and %d bytes, first different at %d: %s, expected %s)"):format(#actual, #expected, at - 1,
    at <= #actual and hex(actual:byte(at), 1) or "the end", at <= #expected and hex(expected:byte(at), 1) or "the end")
end

-- ---- checks

function t.fail(message) fail("%s", tostring(message or "failed")) end

function t.eq(actual, expected, what)
  local reads = inner.seen()
  local where, a, e = difference(actual, expected, "")
  if not where then return end
  local subject = name_of(actual, reads)
  local text = subject and ("%s is %s, expected %s"):format(subject, show(a), show(e)) or ("got %s, expected %s"):format(show(a), show(e))
  if where ~= "" then text = ("at %s: %s"):format(where, text) end
  if type(a) == "string" and type(e) == "string" and (#a > 24 or #e > 24) then text = text .. strings_differ(a, e) end
  fail("%s%s", said(what), text)
end

function t.ne(actual, other, what)
  local subject = name_of(actual, inner.seen())
  if difference(actual, other, "") then return end
  fail("%s%s is %s, which it should not be", said(what), subject or "the value", show(actual))
end

function t.ok(value, what)
  local subject = name_of(value, inner.seen())
  if not value then fail("%s%s is %s, expected a true value", said(what), subject or "the value", show(value)) end
  return value
end

function t.no(value, what)
  local subject = name_of(value, inner.seen())
  if value then fail("%s%s is %s, expected false or nil", said(what), subject or "the value", show(value)) end
end

function t.near(actual, expected, tolerance, what)
  local subject = name_of(actual, inner.seen())
  if type(actual) == "number" and math.abs(actual - expected) <= tolerance then return end
  fail("%s%s is %s, expected %s within %s", said(what), subject or "the value", show(actual), show(expected), show(tolerance))
end

function t.match(text, pattern, what)
  if type(text) == "string" and (text:find(pattern) or text:find(pattern, 1, true)) then return end
  fail("%s%s does not match %s", said(what), show(text), show(pattern))
end

function t.raises(fn, pattern, what)
  local good, text = pcall(fn)
  if good then fail("%sno error was raised%s", said(what), pattern and ", expected " .. show(pattern) or "") end
  if text == Skip then error(text, 0) end
  text = tostring(text)
  if pattern and not text:find(pattern) and not text:find(pattern, 1, true) then
    fail("%sthe error is %s, expected %s", said(what), show(text), show(pattern))
  end
  return text
end

-- Calls fn again and again until it gives something true, which is returned.
function t.eventually(fn, seconds, what)
  local limit = core.now() + (seconds or 1.0)
  while true do
    local value = fn()
    if value then return value end
    if core.now() >= limit then fail("%sstill %s after %s s", said(what), show(value), tostring(seconds or 1.0)) end
    core.sleep(0.0002)
  end
end

function t.skip(reason)
  if not running then fail("t.skip is for use in a test; t.test(name, { skip = reason }, fn) leaves one out") end
  running.reason = tostring(reason or "")
  error(Skip, 0)
end

function t.log(format, ...) print(select("#", ...) > 0 and format:format(...) or tostring(format)) end

-- ---- devices

local function folder() return file:match("^(.*/)[^/]*$") or "" end

local function readable(path)
  local f = io.open(path, "rb")
  if f then f:close() end
  return f ~= nil
end

local function resolve(path)
  if not path:find("/", 1, true) and not path:find("%.lua$") and not path:find("%.so$") then return path end
  if path:sub(1, 1) == "/" then return path end
  path = folder() .. path
  return path:find("/", 1, true) and path or "./" .. path
end

local function own_device()
  local name = file:match("([^/]+)_test%.lua$")
  if not name then fail("%s is not named NAME_test.lua: say t.device(\"...\")", file) end
  for _, suffix in ipairs({ ".lua", ".so" }) do
    if readable(folder() .. name .. suffix) then return { path = resolve(name .. suffix) } end
  end
  return { path = name }
end

local function merge(first, second)
  local out = {}
  for k, v in pairs(first or {}) do out[k] = v end
  for k, v in pairs(second or {}) do out[k] = v end
  return out
end

local function start(device, more)
  local options = merge(device.options, more)
  options.params = merge(device.params, more and more.params)
    -- a host that logs its accesses would log ours; one that is slow to start is named by the test's own limit
  options.start_timeout = options.start_timeout or runner.limit
  local dut = client.spawn(device.path, options)
  running.duts[#running.duts + 1] = dut
  if runner.coverage then pcall(dut.control, dut, "coverage", { on = true }) end
  return dut
end

-- At the top of a file: the device of the tests that follow, false for none. In a test: starts one more, and returns it;
-- without a path it is the file's own, with these parameters and options on top.
function t.device(path, params, options)
  if path == false then
    default = false
    return
  end
  if path == nil and running and running.device then
    return start(running.device, merge(options, { params = params }))
  end
  if type(path) ~= "string" then fail("t.device wants a plugin's name or file, not %s", show(path)) end
  local device = { path = resolve(path), params = params, options = options }
  if running then return start(device) end
  default = device
end

function t.advance(seconds, dut)
  dut = dut or running and running.duts[1]
  if not dut then fail("t.advance: no device runs") end
  dut:advance(seconds)
end

-- ---- tests

local test_options = { params = true, irq = true, vectors = true, timeout = true, skip = true, args = true, twin = true }

inner.options["vfu.TestOptions"] = test_options

function t.test(name, options, fn)
  if fn == nil then options, fn = {}, options end
  if running then fail("a test in a test") end
  if type(name) ~= "string" or name == "" then fail("a test wants a name") end
  if type(fn) ~= "function" then fail("the test '%s' wants a function", name) end
  for key in pairs(options) do
    if not test_options[key] then fail("a test has no option '%s': args, irq, params, skip, timeout, twin, vectors", tostring(key)) end
  end
  local _, line = position()
  if default == nil then default = own_device() end
  tests[#tests + 1] = { name = name, fn = fn, options = options, device = default, line = line }
end

-- The tests of another file, beside this one, for the device of this one unless they name theirs.
function t.include(path)
  if running then fail("t.include is for the top of a file") end
  if default == nil then default = own_device() end
  local chunk, text = loadfile(resolve(path:find("[/.]") and path or "./" .. path))
  if not chunk then fail("%s", text) end
  return chunk()
end

function t.before(fn) befores[#befores + 1] = fn end
function t.after(fn) afters[#afters + 1] = fn end

-- ---- the runner's side

function runner.begin(path) file = path end

-- { name, line, timeout, skip } of each; the register map of the first device is looked up once for all.
function runner.list()
  local out = {}
  collectgarbage() -- servers that the file has started and no longer uses leave no folder behind
  for i, test in ipairs(tests) do
    out[i] = { name = test.name, line = test.line, timeout = test.options.timeout, skip = test.options.skip and tostring(test.options.skip) }
  end
  local first = tests[1] and tests[1].device
  if first then
    inner.dump(inner.command(first.path, { params = merge(first.params, tests[1].options.params),
      args = tests[1].options.args, host = first.options and first.options.host }))
  end
  return out
end

-- The script's own functions on the stack, if there is more to say than the line.
local function trace()
  local out = {}
  for level = 2, 100 do
    local info = debug.getinfo(level, "Slnt")
    if not info then break end
    if info.currentline > 0 and info.source ~= "=vfu.client" and info.source ~= "=vfu.test" then
      out[#out + 1] = ("%s:%d%s"):format(info.short_src, info.currentline, info.name and ": in " .. info.name or "")
    end
  end
  return #out > 1 and table.concat(out, "\n") or nil
end

local function guarded(result, fn, ...)
  local function handler(err)
    if err ~= Skip and result.status ~= "failed" then
      result.status, result.message, result.trace = "failed", tostring(err), trace()
    elseif err == Skip and result.status == "passed" then
      result.status, result.message = "skipped", running.reason
    end
  end
  return xpcall(fn, handler, ...)
end

local function append(result, text)
  result.message = result.status == "failed" and result.message .. "\n" .. text or text
  result.status = "failed"
end

-- What the devices leave: how they ended, and what they said.
local function end_devices(result, hang)
  local logs = {}
  for _, dut in ipairs(running.duts) do
    local expected = dut.stopped
    if runner.coverage and not hang and not expected then
      local good, reply = pcall(dut.control, dut, "coverage")
      if good then
        result.coverage = result.coverage or {}
        result.coverage[#result.coverage + 1] = reply.coverage
      end
    end
    if hang then dut:kill() else
      local how, good = dut:stop()
      if not good and not expected then append(result, ("%s ended with %s"):format(dut.program, how)) end
    end
    logs[#logs + 1] = dut:log()
    dut.server_process:free()
    dut.server_process = nil
  end
  if result.status == "failed" then result.log = table.concat(logs) end
end

function runner.run(i)
  local test = tests[i]
  local result = { status = "passed" }
  running = { duts = {}, device = test.device }
  inner.folder = runner.folder -- goes with the test, however that ends
  inner.watch(true)
  local dut
  local good = guarded(result, function()
    if test.device then
      local o = test.options
      dut = start(test.device, { params = o.params, irq = o.irq, vectors = o.vectors, args = o.args, twin = o.twin })
    end
    for _, fn in ipairs(befores) do fn(dut) end
    test.fn(dut)
  end)
  local hang = core.limit_over()
  if not hang and (good or dut or not test.device) then
    for n = #afters, 1, -1 do guarded(result, afters[n], dut) end
  end
  if hang then result.hang = true end
  end_devices(result, hang)
  return result
end

return t
