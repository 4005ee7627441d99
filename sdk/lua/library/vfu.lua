---@meta vfu
-- SPDX-License-Identifier: BSD-3-Clause

--- What `require "vfu"` gives to a script.
---
--- A script declares one device, gives it hooks, and returns it. It runs once, when the device is loaded; from then
--- on its hooks are called, one at a time. Times are seconds. Integers are 64 bits, as raw bits.
---
--- Garbage is collected between hooks, in small steps after a reply is sent. One table is one step: 100,000 entries in
--- one hold the device up for over a millisecond, in tables of 1000 they do not.
---@class vfu
local vfu = {}

--- The version of the host.
---@type string
vfu.version = ""

--- Declares the device. One script, one device.
---
--- The name is 1 to 63 letters, digits, `-`, `_` and `.`; it is a part of the identity that saved state is checked
--- against.
---@param name string
---@param spec vfu.DeviceSpec
---@return vfu.Device
function vfu.device(name, spec) end

--- A way to the QEMU that the guest runs in, by QMP, its machine protocol: start QEMU with
--- `-qmp unix:PATH,server=on,wait=off`. Nil for no address, so that a parameter left empty stands for "no QMP". The
--- address must be one of the device's parameters on the command line: a script reaches no other.
---
--- It is no state: keep it in a local of the script.
---@param address? string "unix:PATH"
---@return vfu.Qmp? qmp
function vfu.qmp(address) end

--- What `vfu.qmp` gives.
---@class vfu.Qmp
local Qmp = {}

--- Sends a command, such as "system_reset", and goes on at once. The commands for one address are sent one after the
--- other, each with 5 seconds for its answer, over a connection that lasts as long as there are any.
---
--- The callback gets the answer: a table, mostly an empty one, or nil and a message. It cannot wait, as a reset hook
--- cannot; a `self:after(0, ...)` in it starts an event that can. It is not saved with the device, and it is not
--- called any more once the script is loaded anew. Failures are also a warning in the log.
---@param command string
---@param arguments? table<string, any> of booleans, numbers, strings, lists and tables
---@param callback? fun(answer: any, message: string?)
---@return boolean? queued
---@return string? message 64 commands wait already
function Qmp:execute(command, arguments, callback) end

--- A register of `bytes` bytes: 1, 2, 4 or 8, at `offset` in its BAR, group or config space. Any alignment.
---
--- The table carries fields as its list and options as its keys. Bits that no field covers are reserved if there are
--- fields: software writes leave them alone, the device's own access reaches every bit.
---@param name string an identifier of up to 63 characters
---@param offset integer
---@param bytes 1|2|4|8
---@param access? vfu.Access "rw" if left out
---@param spec? vfu.RegSpec
---@return vfu.Reg
---@overload fun(name: string, offset: integer, bytes: 1|2|4|8, spec: vfu.RegSpec): vfu.Reg
function vfu.reg(name, offset, bytes, access, spec) end

--- One bit of a register, a boolean for the script.
---@param name string
---@param bit integer 0 to 63
---@param access? vfu.Access that of its register if left out
---@param spec? vfu.FlagSpec
---@return vfu.Field
---@overload fun(name: string, bit: integer, spec: vfu.FlagSpec): vfu.Field
function vfu.flag(name, bit, access, spec) end

--- Some bits of a register: an integer for the script, or a string where an enum names the value.
---
--- An enum list counts from 0: `{ "off", "slow" }`; with keys it gives values: `{ off = 0, max = 5 }`. A value
--- without a name reads as an integer, and integers can be written to any field.
---@param name string
---@param lsb integer the lowest bit, 0 to 63
---@param width integer bits
---@param access? vfu.Access that of its register if left out
---@param enum? string[]|table<string, integer>
---@param spec? vfu.FieldSpec
---@return vfu.Field
---@overload fun(name: string, lsb: integer, width: integer, enum: string[]|table<string, integer>, spec?: vfu.FieldSpec): vfu.Field
---@overload fun(name: string, lsb: integer, width: integer, spec: vfu.FieldSpec): vfu.Field
function vfu.field(name, lsb, width, access, enum, spec) end

--- A block of registers that repeats: `dev.NAME[i].REG`, counted from 0.
---@param name string
---@param offset integer of the first one
---@param spec vfu.GroupSpec
---@param registers vfu.Reg[] with offsets inside the block
---@return vfu.Group
function vfu.group(name, offset, spec, registers) end

--- Zeroed device memory of 1 byte to 16 MiB.
---@param size integer
---@return vfu.Buffer
function vfu.buffer(size) end

--- Opens another device model, to wrap it: `return vfu.plugin("edu"):wrap{...}`. One script wraps one plugin.
---
--- The parameters are the plugin's; what the command line says as inner.KEY=VALUE comes before them.
---@param path string a .lua or .so file, beside the script or as it stands, or an installed plugin's name
---@param params? table<string, string|number|boolean>
---@return vfu.Plugin
function vfu.plugin(path, params) end

--- A display: what the device shows to people. Where it goes is the operator's word, so pass on a parameter of the
--- device: `vfu.display(dev.params.display)`. It is a list with commas of `vnc:HOST:PORT`, `vnc:PORT`, `vnc:unix:PATH`,
--- `png:FILE` and `none`; see vfu-host(1). But for `none` it must be the value of a parameter on the command line, so
--- that a script reaches nothing else. Up to four for a device, declared while the script loads.
---@param outputs? string nothing if left out: then only the control socket can ask for a picture
---@return vfu.Display
function vfu.display(outputs) end

--- Lets the event or write hook that calls it wait; other accesses go on meanwhile. Elsewhere it returns nil, "would
--- wait".
---@param seconds number
---@return true? done
---@return string? message
function vfu.sleep(seconds) end

--- A stream of bytes to and from the world outside, named by the operator: take it from a parameter. Called while the
--- script loads; the stream is open from when the host begins to serve. Functions `readable`, `writable` and `peer` of it
--- are called with the device, and never wait: `function port.readable(self) ... end`.
---
--- | spec | what it is |
--- | --- | --- |
--- | `pty`, `pty:LINK` | a terminal of the host, in raw mode; LINK is a symbolic link to it. The peer is who has it open. |
--- | `unix:PATH` | a UNIX socket at which the host listens. One peer at a time, the others wait. |
--- | `unix:PATH,connect` | somebody else's socket. The host connects, again and again until it can. |
--- | `file:PATH` | what is written is appended to the file; with `,truncate` to an empty one. |
--- | `null`, or nothing | takes everything, gives nothing. |
---
--- Behind the first three `,marks` puts breaks between the bytes, as termios marks them with PARMRK: `ff 00 00` is a
--- break, `ff ff` the byte ff. Raises if a stream is named later than that; what cannot be opened ends the host.
--- A stream with a path must be a parameter's value on the command line: a device reaches no other.
---@param spec string
---@return vfu.Stream
function vfu.stream(spec) end

--- The device's time in seconds: monotonic, from no particular point.
---@return number seconds
function vfu.now() end

--- An integer as text, `0x` in front.
---@param value integer
---@return string
function vfu.hex(value) end

--- Random bytes of the host's kernel, fit for keys: getrandom(2). Up to 1 MiB at once.
---@param n integer
---@return string
function vfu.random(n) end

--- A size as an integer: `"64M"`, `"4K"`, `"0x1000"`, or a number as it is. Raises if it is none.
---@param text string|integer
---@return integer
function vfu.size(text) end

--- The CRC-32 of Ethernet, gzip and PNG (polynomial 0x04c11db7, reflected, complemented before and after), which runs in
--- C: a megabyte takes about a millisecond. Pieces go one after the other: `vfu.crc32(b, vfu.crc32(a))` is
--- `vfu.crc32(a .. b)`. Linux's `crc32_le(~0, ...)` is its complement.
---@param data string
---@param before? integer what came out for the data in front; 0 if left out
---@return integer crc 32 bits
function vfu.crc32(data, before) end

--- The host's log. Each takes the arguments of `string.format`, or one value of any kind. `print` is `vfu.log.info`.
---@class vfu.Log
local Log = {}

--- Shown with `--log-level debug`.
---@param format any
---@param ... any
function Log.debug(format, ...) end

--- Shown unless `--log-level` is higher.
---@param format any
---@param ... any
function Log.info(format, ...) end

--- Something to look at.
---@param format any
---@param ... any
function Log.warn(format, ...) end

--- Something is wrong with the device or the script. What the guest does wrong goes to `dev:guest_error`.
---@param format any
---@param ... any
function Log.error(format, ...) end

---@type vfu.Log
vfu.log = Log

return vfu
