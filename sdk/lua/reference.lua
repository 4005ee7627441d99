-- SPDX-License-Identifier: BSD-3-Clause
-- reference - reads the definition files of sdk/lua/library and writes the reference manual from them:
--
--     lua5.4 sdk/lua/reference.lua FILE... > docs/lua-reference.md
--
-- Loaded with no script name in `arg` it returns parse and render, which is how the tests use it. Plain Lua 5.4.

local function fail(file, n, text, ...) error(("%s:%d: %s"):format(file, n, text:format(...)), 0) end

-- The type at the start of text, with its brackets and unions, and what is behind it.
local function take_type(text)
  local depth, i = 0, 1
  while i <= #text do
    local c = text:sub(i, i)
    if c:find("[%(%[{<]") then
      depth = depth + 1
    elseif c:find("[%)%]}>]") then
      depth = depth - 1
    elseif c == '"' then
      i = text:find('"', i + 1, true) or #text
    elseif c:find("%s") and depth == 0 then
      local before, after = text:sub(i - 1, i - 1), text:match("^%s*(.)", i)
      if not (before:find("[:,|]") or after == "|") then break end
    end
    i = i + 1
  end
  return text:sub(1, i - 1), (text:sub(i):gsub("^%s+", ""))
end

local function split_name(text)
  local name, optional, rest = text:match("^(%b[])(%??)%s+(.*)$")
  if not name then name, optional, rest = text:match("^([%w_%.]+)(%??)%s+(.*)$") end
  if not name then return nil end
  local kind, doc = take_type(rest)
  return { name = name, optional = optional == "?", type = kind, doc = doc }
end

local Parser = {}
Parser.__index = Parser

function Parser:reset() self.doc, self.params, self.returns, self.overloads, self.type = {}, {}, {}, {}, nil end

function Parser:add(item)
  item.doc = table.concat(self.doc, "\n")
  self.items[#self.items + 1] = item
  self.doc = {}
  return item
end

function Parser:tag(tag, rest, n)
  if tag == "meta" then
    self:reset()
  elseif tag == "class" then
    local name, parent = rest:match("^([%w_%.]+)%s*:?%s*([%w_%.]*)$")
    if not name then fail(self.file, n, "a class without a proper name: %s", rest) end
    if parent ~= "" then self.doc[#self.doc + 1] = ("\nIt has all that a `%s` has."):format(parent) end
    self.class = self:add({ kind = "class", name = name, fields = {}, functions = {} })
    self.classes[name] = self.class
  elseif tag == "alias" then
    local name, text = rest:match("^([%w_%.]+)%s*(.*)$")
    self.alias = self:add({ kind = "alias", name = name, type = text, choices = {} })
  elseif tag == "field" then
    local field = split_name(rest) or fail(self.file, n, "a field without a type: %s", rest)
    if not self.class then fail(self.file, n, "a field without a class") end
    self.class.fields[#self.class.fields + 1] = field
  elseif tag == "param" then
    self.params[#self.params + 1] = rest:match("^%.%.%.") and { name = "...", type = rest:match("^%.%.%.%s+(%S+)"),
      doc = rest:match("^%.%.%.%s+%S+%s+(.*)$") or "" } or split_name(rest) or fail(self.file, n, "param %s", rest)
  elseif tag == "return" then
    local kind, doc = take_type(rest)
    self.returns[#self.returns + 1] = { type = kind, doc = doc }
  elseif tag == "overload" then
    self.overloads[#self.overloads + 1] = rest
  elseif tag == "type" then
    self.type = rest
  else
    fail(self.file, n, "the tag @%s is not known here", tag)
  end
end

function Parser:code(line, n)
  local owner, sep, name, args = line:match("^function%s+([%w_]+)([%.:])([%w_]+)%((.-)%)%s*end$")
  if owner then
    local class = self.tables[owner] or fail(self.file, n, "%s has no class", owner)
    local named = {}
    for _, p in ipairs(self.params) do named[#named + 1] = p.name end
    if table.concat(named, ", ") ~= args then fail(self.file, n, "parameters (%s), documented (%s)", args, table.concat(named, ", ")) end
    class.functions[#class.functions + 1] = { name = name, sep = sep, params = self.params, returns = self.returns,
      overloads = self.overloads, doc = table.concat(self.doc, "\n") }
  elseif line:match("^local%s+[%w_]+%s*=") then
    self.tables[line:match("^local%s+([%w_]+)")] = self.class
  elseif line:match("^[%w_]+%.[%w_]+%s*=") then
    owner, name = line:match("^([%w_]+)%.([%w_]+)")
    local class = self.tables[owner] or fail(self.file, n, "%s has no class", owner)
    class.fields[#class.fields + 1] = { name = name, type = self.type or fail(self.file, n, "%s without a type", name),
      doc = table.concat(self.doc, " ") }
  elseif not line:match("^return ") then
    fail(self.file, n, "not understood: %s", line)
  end
  self:reset()
end

-- The definitions of all files: a list of classes and aliases in order, each with doc, fields and functions.
local function parse(files)
  local self = setmetatable({ items = {}, classes = {} }, Parser)
  for _, file in ipairs(files) do
    self.file, self.tables, self.class, self.alias = file, {}, nil, nil
    self:reset()
    local n = 0
    for line in assert(io.lines(file)) do
      n = n + 1
      local tag, rest = line:match("^%-%-%-@(%w+)%s*(.-)%s*$")
      local choice, text = line:match("^%-%-%-|%s+(%S+)%s*#?%s*(.*)$")
      if tag then
        self:tag(tag, rest, n)
      elseif choice then
        self.alias.choices[#self.alias.choices + 1] = { name = choice, doc = text }
      elseif line:match("^%-%-%-") then
        self.doc[#self.doc + 1] = line:match("^%-%-%-%s?(.*)$")
      elseif line:match("^%s*$") then
        if #self.params == 0 and #self.returns == 0 then self:reset() end
      elseif not line:match("^%-%-") then
        self:code(line, n)
      end
    end
  end
  return self.items
end

-- Every name that is defined: "vfu.device", "vfu.Device:bar", "vfu.BarSpec.size".
local function names(items)
  local set = {}
  for _, item in ipairs(items) do
    set[item.name] = item.kind
    for _, f in ipairs(item.fields or {}) do set[item.name .. "." .. f.name] = "field" end
    for _, f in ipairs(item.functions or {}) do set[item.name .. f.sep .. f.name] = "function" end
    for _, c in ipairs(item.choices or {}) do set[item.name .. "=" .. c.name:gsub('"', "")] = "choice" end
  end
  return set
end

-- ---- Markdown

-- How a class's instances are called in the manual.
local instances = {
  ["vfu"] = "vfu", ["vfu.Device"] = "dev", ["vfu.Log"] = "vfu.log", ["vfu.Irq"] = "dev.irq", ["vfu.Dma"] = "dev.dma",
  ["vfu.View"] = "view", ["vfu.Buffer"] = "buffer", ["vfu.Timer"] = "timer", ["vfu.Bar"] = "bar",
  ["vfu.OnHooks"] = "dev.on", ["vfu.Register"] = "dev.REG", ["ffi"] = "ffi",
  ["vfu.client"] = "client", ["vfu.Dut"] = "dut", ["vfu.Window"] = "dut.config", ["vfu.Memory"] = "memory", ["vfu.test"] = "t",
}

local function cell(text) return (text:gsub("|", "\\|")) end

local function anchor(title) return (title:lower():gsub("[^%w%- _]", ""):gsub(" ", "-")) end

local function table_of(out, head, rows)
  out[#out + 1] = "| " .. table.concat(head, " | ") .. " |"
  out[#out + 1] = "|" .. (" --- |"):rep(#head)
  for _, row in ipairs(rows) do out[#out + 1] = "| " .. table.concat(row, " | ") .. " |" end
  out[#out + 1] = ""
end

local function field_rows(fields)
  local rows, list = {}, { ["[1]"] = "first in the list", ["[2]"] = "second in the list", ["[integer]"] = "its list",
    ["[string]"] = "any name" }
  for _, f in ipairs(fields) do
    local doc = f.doc ~= "" and f.doc or ""
    rows[#rows + 1] = { (list[f.name] or "`" .. f.name .. "`") .. (f.optional and "" or f.name:match("^%[") and "" or " *"),
      "`" .. cell(f.type) .. "`", cell(doc) }
  end
  return rows
end

local function render_function(out, item, f)
  local args, rows = {}, {}
  for _, p in ipairs(f.params) do
    args[#args + 1] = p.optional and "[" .. p.name .. "]" or p.name
    rows[#rows + 1] = { "`" .. p.name .. "`", "`" .. cell(p.type or "any") .. "`", cell(p.doc or "") }
  end
  local results = {}
  for _, r in ipairs(f.returns) do results[#results + 1] = r.type:gsub("%s", "") end
  out[#out + 1] = ("### `%s%s%s(%s)`"):format(instances[item.name] or item.name, f.sep, f.name, table.concat(args, ", "))
  out[#out + 1] = ""
  if f.doc ~= "" then
    out[#out + 1] = f.doc
    out[#out + 1] = ""
  end
  for _, o in ipairs(f.overloads) do
    out[#out + 1] = "Also `" .. o:gsub("^fun", f.name) .. "`."
    out[#out + 1] = ""
  end
  if #rows > 0 then table_of(out, { "argument", "type", "" }, rows) end
  for i, r in ipairs(f.returns) do
    out[#out + 1] = (i == 1 and "Returns " or "and ") .. "`" .. r.type .. "`" .. (r.doc ~= "" and " " .. r.doc or "") ..
      (i == #f.returns and "." or ",")
  end
  if #f.returns > 0 then out[#out + 1] = "" end
end

local function render(items)
  local out = {
    "# Lua reference",
    "",
    "<!-- Written by sdk/lua/reference.lua from sdk/lua/library/*.lua: change those, then run make lua-reference. -->",
    "",
    "Every name that a device script can use, and behind them those of tests and of vfu-client's scripts. Editors with the Lua language server show the same: point its",
    "`workspace.library` to the folder `lua/library` of the installed `share/vfu-host`. The tutorial is in",
    "[tutorial.md](tutorial.md).",
    "",
    "In the tables, a `*` marks what must be given or is always there, and a `?` behind a type that it can be nil.",
    "",
  }
  for _, item in ipairs(items) do out[#out + 1] = ("- [%s](#%s)"):format(item.name, anchor(item.name)) end
  out[#out + 1] = ""
  for _, item in ipairs(items) do
    out[#out + 1] = "## " .. item.name
    out[#out + 1] = ""
    if item.doc ~= "" then
      out[#out + 1] = item.doc
      out[#out + 1] = ""
    end
    if item.kind == "alias" then
      if item.type ~= "" then
        out[#out + 1] = "`" .. item.type .. "`"
        out[#out + 1] = ""
      else
        local rows = {}
        for _, c in ipairs(item.choices) do rows[#rows + 1] = { "`" .. c.name .. "`", cell(c.doc) } end
        table_of(out, { "value", "" }, rows)
      end
    elseif #item.fields > 0 then
      table_of(out, { "name", "type", "" }, field_rows(item.fields))
    end
    for _, f in ipairs(item.functions or {}) do render_function(out, item, f) end
  end
  return table.concat(out, "\n"):gsub("\n+$", "") .. "\n"
end

if arg and arg[0] then
  if #arg == 0 then
    io.stderr:write("usage: lua5.4 reference.lua FILE... > lua-reference.md\n")
    os.exit(2)
  end
  io.write(render(parse(arg)))
  return
end
return { parse = parse, names = names, render = render }
