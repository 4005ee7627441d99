---@meta vfu.client
-- SPDX-License-Identifier: BSD-3-Clause

--- What `require "vfu.client"` gives to a script of vfu-client: devices as software sees them. It speaks to any
--- vfio-user server. Scripts run in plain Lua 5.4 with its whole library.
---
--- `vfu-client SOCKET run SCRIPT.lua` gives the script its device as the first argument: `local dut = ...`. What fails
--- raises an error with the script's line. Times are seconds. Integers are 64 bits, as raw bits.
---@class vfu.client
local client = {}

--- Connects to the server at the socket.
---@param path string
---@param options? vfu.ConnectOptions
---@return vfu.Dut
function client.connect(path, options) end

--- Starts a server and connects to it: a plugin, by name or file, in a vfu-host; or any other server by the words of its
--- command line, in which `{socket}` stands for the path of its socket. It ends with the script.
---@param what string|string[]
---@param options? vfu.SpawnOptions
---@return vfu.Dut
function client.spawn(what, options) end

--- An integer as text, `0x` in front.
---@param value integer
---@param bytes? integer 4 if left out
---@return string
function client.hex(value, bytes) end

--- Options of `client.connect`.
---@class vfu.ConnectOptions
---@field timeout? number seconds that the server has for each answer; 5
---@field irq? "best"|"msix"|"msi"|"intx"|"none" what interrupts are armed with; "best"
---@field vectors? integer how many are armed at most; 64
---@field map? table the register map, as `vfu-host --dump=json` prints it
---@field control? string the control socket, if it is not the socket with `.control` behind
---@field twin? boolean ask for a second socket for DMA
---@field no_multi? boolean do not offer to write several registers with one message
---@field json? string the text of the negotiation, as it stands
---@field wait? boolean wait for a socket that is not there yet

--- Options of `client.spawn`, beside those of `client.connect`.
---@class vfu.SpawnOptions
---@field params? table<string, boolean|number|string> the plugin's parameters
---@field args? string[] more words for vfu-host
---@field host? string the vfu-host: the one beside vfu-client, or on the path
---@field start_timeout? number seconds until its socket is there; 5
---@field folder? string where its private folder is made; `$TMPDIR`
---@field echo? boolean what it prints is shown, not kept

--- A device under test.
---
--- `dut.regs.NAME.value` is a register and `dut.regs.NAME.FIELD` a field, as in a device script, but each is an access
--- of the bus: setting a field reads the register and writes it back, with the other fields as they are, and 0 for those
--- that a 1 would change. Arrays are `dut.regs.NAME[i]`, groups `dut.regs.GROUP[i].NAME`, from 0. A field of one bit
--- without an enum is a boolean.
---
--- A region is `"bar0"` to `"bar5"`, `"rom"`, `"config"`, `"vga"`, or an index. While a call waits for the device, the
--- device's DMA is answered.
---@class vfu.Dut
---@field regs table<string, any> registers, arrays and groups by name
---@field config vfu.Window config space; `bar0` to `bar5`, `rom` and `vga` are there too
---@field irq_kind string? what is armed: "msix", "msi" or "intx"
local Dut = {}

--- One access. 1, 2, 4 and 8 bytes are an integer, other sizes a string.
---@param region string|integer
---@param offset integer
---@param size? integer 4 if left out
---@return integer|string
function Dut:read(region, offset, size) end

--- One access, as a string whatever its size.
---@param region string|integer
---@param offset integer
---@param size integer
---@return string
function Dut:read_bytes(region, offset, size) end

--- One access: an integer of 1, 2, 4 or 8 bytes, or a string. Returns when the device has answered.
---@param region string|integer
---@param offset integer
---@param value integer|string
---@param size? integer of an integer; 4 if left out
function Dut:write(region, offset, value, size) end

--- A write that is not answered. It leaves with the next call that waits for the device, or with `dut:flush()`.
---@param region string|integer
---@param offset integer
---@param value integer|string
---@param size? integer of an integer; 4 if left out
function Dut:post(region, offset, value, size) end

--- Sends what was posted.
function Dut:flush() end

--- Many reads `{region, offset, size}`, all on their way before the first answer: the values in order.
---@param list table[]
---@return (integer|string)[]
function Dut:read_many(list) end

--- Many writes `{region, offset, value, size}` in one message. Raises if the server does not take such.
---@param list table[]
---@param posted? boolean nobody answers
---@return integer done how many the device has done; 0 if posted
function Dut:write_multi(list, posted) end

--- Resets the device.
function Dut:reset() end

--- Another time limit for answers.
---@param seconds number
function Dut:timeout(seconds) end

--- What was negotiated: `major`, `minor`, `max_msg_fds`, `max_data_xfer_size`, `max_dma_maps`, `pgsizes`,
--- `write_multiple`, `twin_socket`, `migration`.
---@return table
function Dut:negotiated() end

--- What the device says of itself: `regions`, `irqs`, `reset`.
---@return table
function Dut:info() end

--- What the device says of a region: `size`, `read`, `write`, `mmap`.
---@param name string|integer
---@return table
function Dut:region(name) end

--- The register map, as `vfu-host --dump=json` prints it.
---@return table
function Dut:map() end

--- Memory for the device at a DMA address. Address and size are multiples of 4096.
---@param address integer
---@param size integer
---@param options? vfu.MemoryOptions
---@return vfu.Memory
function Dut:memory(address, size, options) end

--- Answers the device's DMA for so long, or until something came.
---@param seconds? number 0 if left out
---@return integer requests
function Dut:serve(seconds) end

--- What DMA came by messages so far.
---@return integer requests
---@return integer bytes
function Dut:dma_stats() end

--- The device's whole state, as it migrates. The device runs on.
---@param stopped? boolean it stands still afterwards, as the source of a migration does
---@return string
function Dut:save(stopped) end

--- Puts a saved state in place of the present one; the device runs on from there. Raises if the device refuses it.
---@param state string
function Dut:load(state) end

--- Arms interrupts, of the best kind that the device has if none is named. Done by connecting, unless told otherwise.
---@param kind? "best"|"msix"|"msi"|"intx"
---@param vectors? integer how many at most; 64
---@return string? kind
function Dut:arm(kind, vectors) end

--- Takes the interrupts away.
function Dut:disarm() end

--- Waits for an interrupt, which counts from when it was armed.
---@param vector? integer 0 if left out
---@param seconds? number 1.0 if left out
---@return integer|false times how often it came since the last wait, or false
function Dut:wait_irq(vector, seconds) end

--- How often the interrupt has come so far, those that were waited for included.
---@param vector? integer 0 if left out
---@return integer
function Dut:irq_count(vector) end

--- The process of a server that was started here.
---@return integer
function Dut:pid() end

--- What a server that was started here has printed.
---@return string
function Dut:log() end

--- A command of vfu-host's control socket, and its answer; `vfu-control(7)` lists them.
---@param command string
---@param arguments? table
---@param seconds? number the time limit; 5 if left out
---@return table
function Dut:control(command, arguments, seconds) end

--- An expression in the device's own script.
---@param expr string
---@return string
function Dut:eval(expr) end

--- Moves the device's time. From the first call on it stands still otherwise.
---@param seconds number
---@return table answer `now` in nanoseconds, and how many `events` were due
function Dut:advance(seconds) end

--- Any command of the protocol: the reply's body.
---@param command integer
---@param body? string
---@param posted? boolean no reply
---@return string
function Dut:request(command, body, posted) end

--- Any bytes, for tests that misbehave.
---@param bytes string
---@param piece? integer in pieces of so many bytes, which the server receives one by one
function Dut:raw_send(bytes, piece) end

--- One message of whatever kind, header included; "" when the server has closed.
---@param seconds? number 1 if left out
---@return string
function Dut:raw_recv(seconds) end

--- Closes the connection and connects again: the device sees its client go and come.
function Dut:reconnect() end

--- Closes the connection; the server goes on.
function Dut:close() end

--- Ends a server that was started here.
---@return string? how "status 0", or how else it ended
---@return boolean? good
function Dut:stop() end

--- Ends a server that was started here without a word.
function Dut:kill() end

--- A region.
---@class vfu.Window
local Window = {}

---@param offset integer
---@param size integer
---@return string
function Window:read(offset, size) end

---@param offset integer
---@param value integer|string
---@param size? integer of an integer; 4 if left out
function Window:write(offset, value, size) end

--- Reads one byte, or writes it.
---@param offset integer
---@param value? integer
---@return integer?
function Window:u8(offset, value) end

---@param offset integer
---@param value? integer
---@return integer?
function Window:u16(offset, value) end

---@param offset integer
---@param value? integer
---@return integer?
function Window:u32(offset, value) end

---@param offset integer
---@param value? integer
---@return integer?
function Window:u64(offset, value) end

--- Bytes of the region; 0 if there is none.
---@return integer
function Window:size() end

--- Of config space: where the capability is.
---@param id integer
---@return integer? offset
function Window:cap(id) end

--- Options of `dut:memory`.
---@class vfu.MemoryOptions
---@field map? boolean false: the device cannot map it, and has to send messages
---@field access? "r"|"w"|"rw" what the device may do; "rw"

--- Memory that the device may use. `#memory` is its size; it is there until it is freed or the connection closed.
---@class vfu.Memory
local Memory = {}

---@param offset? integer 0 if left out
---@param size? integer up to its end if left out
---@return string
function Memory:read(offset, size) end

---@param offset integer
---@param bytes string
function Memory:write(offset, bytes) end

---@param byte integer
---@param offset? integer 0 if left out
---@param size? integer up to its end if left out
function Memory:fill(byte, offset, size) end

--- Reads one byte, or writes it.
---@param offset integer
---@param value? integer
---@return integer?
function Memory:u8(offset, value) end

---@param offset integer
---@param value? integer
---@return integer?
function Memory:u16(offset, value) end

---@param offset integer
---@param value? integer
---@return integer?
function Memory:u32(offset, value) end

---@param offset integer
---@param value? integer
---@return integer?
function Memory:u64(offset, value) end

--- Its DMA address.
---@return integer
function Memory:address() end

--- Takes it back from the device.
function Memory:free() end

return client
