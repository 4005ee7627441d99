-- SPDX-License-Identifier: BSD-3-Clause
-- A dissector for Wireshark and tshark: the vfio-user messages that vfu-host --trace writes (link type USER0).
--
-- Runs on the Lua of Wireshark, which is 5.2 in versions to 4.2 and 5.4 from then on: nothing here needs integers of 64
-- bits or operators on bits. What is read from a message is checked for being there: a packet may be cut short.

local vfio_user = Proto("vfio_user", "vfio-user protocol")

local function names(list)
    local by_number = {}
    for number, name in pairs(list) do by_number[number] = name end
    return by_number
end

local COMMANDS = names {
    [1] = "VERSION", [2] = "DMA_MAP", [3] = "DMA_UNMAP", [4] = "DEVICE_GET_INFO", [5] = "DEVICE_GET_REGION_INFO",
    [6] = "DEVICE_GET_REGION_IO_FDS", [7] = "DEVICE_GET_IRQ_INFO", [8] = "DEVICE_SET_IRQS", [9] = "REGION_READ",
    [10] = "REGION_WRITE", [11] = "DMA_READ", [12] = "DMA_WRITE", [13] = "DEVICE_RESET", [14] = "DIRTY_PAGES",
    [15] = "REGION_WRITE_MULTI", [16] = "DEVICE_FEATURE", [17] = "MIG_DATA_READ", [18] = "MIG_DATA_WRITE",
}
local REGIONS = names {
    [0] = "bar0", [1] = "bar1", [2] = "bar2", [3] = "bar3", [4] = "bar4", [5] = "bar5", [6] = "rom", [7] = "config",
    [8] = "vga",
}
local IRQS = names { [0] = "INTx", [1] = "MSI", [2] = "MSI-X", [3] = "error", [4] = "request" }
local ERRORS = names {
    [0] = "none", [1] = "EPERM", [2] = "ENOENT", [4] = "EINTR", [5] = "EIO", [6] = "ENXIO", [7] = "E2BIG", [9] = "EBADF",
    [11] = "EAGAIN", [12] = "ENOMEM", [13] = "EACCES", [14] = "EFAULT", [16] = "EBUSY", [17] = "EEXIST", [19] = "ENODEV",
    [22] = "EINVAL", [24] = "EMFILE", [25] = "ENOTTY", [28] = "ENOSPC", [34] = "ERANGE", [38] = "ENOSYS", [71] = "EPROTO",
    [75] = "EOVERFLOW", [90] = "EMSGSIZE", [95] = "EOPNOTSUPP", [105] = "ENOBUFS", [110] = "ETIMEDOUT", [125] = "ECANCELED",
}
local FEATURES = names {
    [1] = "MIGRATION", [2] = "MIG_DEVICE_STATE", [3] = "LOW_POWER_ENTRY", [4] = "LOW_POWER_ENTRY_WITH_WAKEUP",
    [5] = "LOW_POWER_EXIT", [6] = "DMA_LOGGING_START", [7] = "DMA_LOGGING_STOP", [8] = "DMA_LOGGING_REPORT",
    [9] = "MIG_DATA_SIZE", [10] = "BUS_MASTER",
}
local STATES = names {
    [0] = "ERROR", [1] = "STOP", [2] = "RUNNING", [3] = "STOP_COPY", [4] = "RESUMING", [5] = "RUNNING_P2P",
    [6] = "PRE_COPY", [7] = "PRE_COPY_P2P",
}
-- The registers that every function has in its config space.
local CONFIG = names {
    [0x00] = "Vendor ID", [0x02] = "Device ID", [0x04] = "Command", [0x06] = "Status", [0x08] = "Revision ID",
    [0x09] = "Class code", [0x0c] = "Cache line size", [0x0d] = "Latency timer", [0x0e] = "Header type",
    [0x10] = "BAR 0", [0x14] = "BAR 1", [0x18] = "BAR 2", [0x1c] = "BAR 3", [0x20] = "BAR 4", [0x24] = "BAR 5",
    [0x2c] = "Subsystem vendor ID", [0x2e] = "Subsystem ID", [0x30] = "ROM address", [0x34] = "Capabilities", [0x3c] = "Interrupt line",
    [0x3d] = "Interrupt pin",
}

-- ---- fields

local fields = {}

local function field(name, kind, title, ...)
    local f = ProtoField[kind]("vfio_user." .. name, title, ...)
    fields[#fields + 1] = f
    return f
end
local function flag(name, title, mask)
    return field(name, "bool", title, 32, nil, mask)
end

local F = {
    id = field("id", "uint16", "Message id", base.DEC),
    command = field("command", "uint16", "Command", base.DEC, COMMANDS),
    size = field("size", "uint32", "Message size", base.DEC),
    flags = field("flags", "uint32", "Flags", base.HEX),
    type = field("type", "uint32", "Type", base.DEC, { [0] = "command", [1] = "reply" }, 0xf),
    no_reply = flag("no_reply", "No reply wanted", 0x10),
    failed = flag("failed", "Error", 0x20),
    error = field("error", "uint32", "Error number", base.DEC, ERRORS),
    request = field("request", "framenum", "Request", base.NONE, frametype.REQUEST),
    reply = field("reply", "framenum", "Reply", base.NONE, frametype.RESPONSE),
    time = field("time", "relative_time", "Time since the request"),

    major = field("version.major", "uint16", "Major version", base.DEC),
    minor = field("version.minor", "uint16", "Minor version", base.DEC),
    capabilities = field("version.capabilities", "string", "Capabilities"),

    argsz = field("argsz", "uint32", "argsz", base.DEC),
    plain_flags = field("body.flags", "uint32", "Flags", base.HEX),
    index = field("index", "uint32", "Index", base.DEC),
    count = field("count", "uint32", "Count", base.DEC),
    address = field("address", "uint64", "Address", base.HEX),
    length = field("length", "uint64", "Size", base.HEX),
    file_offset = field("file_offset", "uint64", "Offset in the file", base.HEX),
    region = field("region", "uint32", "Region", base.DEC, REGIONS),
    offset = field("offset", "uint64", "Offset", base.HEX),
    value = field("value", "uint64", "Value", base.HEX),
    data = field("data", "bytes", "Data"),

    map_readable = flag("dma_map.readable", "Readable", 1),
    map_writeable = flag("dma_map.writeable", "Writeable", 2),
    unmap_bitmap = flag("dma_unmap.bitmap", "Get dirty pages", 1),
    unmap_all = flag("dma_unmap.all", "All", 2),
    info_reset = flag("info.reset", "Reset", 1),
    info_pci = flag("info.pci", "PCI", 2),
    num_regions = field("info.regions", "uint32", "Regions", base.DEC),
    num_irqs = field("info.irqs", "uint32", "Interrupts", base.DEC),
    region_read = flag("region_info.read", "Readable", 1),
    region_write = flag("region_info.write", "Writeable", 2),
    region_mmap = flag("region_info.mmap", "Mappable", 4),
    region_caps = flag("region_info.caps", "Capabilities", 8),
    cap_offset = field("region_info.cap_offset", "uint32", "Capabilities at", base.HEX),
    fd_index = field("io_fds.fd_index", "uint32", "Index of the fd", base.DEC),
    fd_type = field("io_fds.type", "uint32", "Type", base.DEC,
                    { [0] = "ioeventfd", [1] = "ioregionfd", [2] = "ioeventfd with shadow" }),
    datamatch = field("io_fds.datamatch", "uint64", "Value that matches", base.HEX),
    irq = field("irq", "uint32", "Interrupt", base.DEC, IRQS),
    irq_eventfd = flag("irq_info.eventfd", "Eventfd", 1),
    irq_maskable = flag("irq_info.maskable", "Maskable", 2),
    irq_automasked = flag("irq_info.automasked", "Automasked", 4),
    irq_noresize = flag("irq_info.noresize", "Fixed number", 8),
    data_none = flag("set_irqs.none", "No data", 1),
    data_bool = flag("set_irqs.bool", "Booleans", 2),
    data_eventfd = flag("set_irqs.eventfd", "Eventfds", 4),
    action_mask = flag("set_irqs.mask", "Mask", 8),
    action_unmask = flag("set_irqs.unmask", "Unmask", 16),
    action_trigger = flag("set_irqs.trigger", "Trigger", 32),
    start = field("set_irqs.start", "uint32", "First", base.DEC),
    writes = field("writes", "uint64", "Writes", base.DEC),
    dirty_start = flag("dirty.start", "Start", 1),
    dirty_stop = flag("dirty.stop", "Stop", 2),
    dirty_get = flag("dirty.get", "Get bitmap", 4),
    feature = field("feature", "uint32", "Feature", base.DEC, FEATURES, 0xffff),
    feature_get = flag("feature.get", "Get", 0x10000),
    feature_set = flag("feature.set", "Set", 0x20000),
    feature_probe = flag("feature.probe", "Probe", 0x40000),
    state = field("state", "uint32", "Device state", base.DEC, STATES),
    mig_stop_copy = field("migration.stop_copy", "bool", "Stop and copy", 64, nil, 1),
    mig_p2p = field("migration.p2p", "bool", "Running P2P", 64, nil, 2),
    mig_pre_copy = field("migration.pre_copy", "bool", "Pre-copy", 64, nil, 4),
    state_fd = field("state.data_fd", "int32", "Data fd", base.DEC),
    page_size = field("dirty.page_size", "uint64", "Page size", base.HEX),
    num_ranges = field("dirty.ranges", "uint32", "Ranges", base.DEC),
    stop_length = field("mig_data_size.stop_copy_length", "uint64", "Bytes to copy", base.DEC),
    data_size = field("mig_data.size", "uint32", "Size of the data", base.DEC),
}
vfio_user.fields = fields

local cut = ProtoExpert.new("vfio_user.cut", "The trace has only a part of this message", expert.group.UNDECODED,
                            expert.severity.NOTE)
local strange = ProtoExpert.new("vfio_user.strange", "This is no vfio-user message", expert.group.MALFORMED,
                                expert.severity.ERROR)
local refused = ProtoExpert.new("vfio_user.refused", "The request was refused", expert.group.RESPONSE_CODE,
                                expert.severity.WARN)
vfio_user.experts = { cut, strange, refused }

local interface_of = Field.new("frame.interface_id")

-- ---- reading

-- Bytes of a message's body; `have` of them are in the file.
local function body_of(tvb)
    local body = { have = tvb:len() - 16 }

    function body.range(at, size)
        if at + size <= body.have then return tvb(16 + at, size) end
    end
    -- A number of up to 32 bits, nil if it is not there.
    function body.number(at, size)
        local range = body.range(at, size or 4)
        return range and range:le_uint()
    end
    return body
end

-- Hexadecimal without leading zeros: the numbers of old Lua versions have not enough bits for all of them.
local function hex(range)
    local digits = {}
    for i = range:len() - 1, 0, -1 do digits[#digits + 1] = string.format("%02x", range(i, 1):uint()) end
    local text = table.concat(digits):gsub("^0+", "")
    return "0x" .. (text == "" and "0" or text)
end
local function hex_at(body, at, size)
    local range = body.range(at, size)
    return range and hex(range) or "?"
end

-- Adds fields in a row: { field, size }, with their flags behind them where there are any.
local function add(tree, body, at, layout)
    for _, item in ipairs(layout) do
        local range = body.range(at, item[2])
        if not range then return nil end
        local branch = tree:add_le(item[1], range)
        for i = 3, #item do branch:add_le(item[i], range) end
        at = at + item[2]
    end
    return at
end

local function add_data(tree, body, at)
    if at and body.have > at then tree:add(F.data, body.range(at, body.have - at)) end
end

local function region_name(number)
    return number and (REGIONS[number] or "region " .. number) or "?"
end

-- ---- bodies: each adds its fields, and returns what the list of packets says of it

local function version(tree, body)
    local at = add(tree, body, 0, { { F.major, 2 }, { F.minor, 2 } })
    if at and body.have > at then tree:add(F.capabilities, body.range(at, body.have - at)) end
    return at and string.format("%d.%d", body.number(0, 2), body.number(2, 2)) or ""
end

local function dma_map(tree, body)
    add(tree, body, 0, { { F.argsz, 4 }, { F.plain_flags, 4, F.map_readable, F.map_writeable }, { F.file_offset, 8 },
                         { F.address, 8 }, { F.length, 8 } })
    local flags = body.number(4)
    if not flags or body.have < 32 then return "" end
    return string.format("%s, %s bytes, %s%s", hex_at(body, 16, 8), hex_at(body, 24, 8), flags % 2 == 1 and "r" or "",
                         flags % 4 >= 2 and "w" or "")
end

local function dma_unmap(tree, body)
    local at = add(tree, body, 0, { { F.argsz, 4 }, { F.plain_flags, 4, F.unmap_bitmap, F.unmap_all }, { F.address, 8 },
                                    { F.length, 8 } })
    add_data(tree, body, at)
    return at and hex_at(body, 8, 8) .. ", " .. hex_at(body, 16, 8) .. " bytes" or ""
end

local function get_info(tree, body, reply)
    local at = add(tree, body, 0, { { F.argsz, 4 }, { F.plain_flags, 4, F.info_reset, F.info_pci },
                                    { F.num_regions, 4 }, { F.num_irqs, 4 } })
    return reply and at and string.format("%d regions, %d interrupts", body.number(8), body.number(12)) or ""
end

local function region_info(tree, body, reply)
    local at = add(tree, body, 0, {
        { F.argsz, 4 }, { F.plain_flags, 4, F.region_read, F.region_write, F.region_mmap, F.region_caps },
        { F.region, 4 }, { F.cap_offset, 4 }, { F.length, 8 }, { F.file_offset, 8 } })
    add_data(tree, body, at)
    local text = region_name(body.number(8))
    return reply and at and text .. ", " .. hex_at(body, 16, 8) .. " bytes" or text
end

local function io_fds(tree, body, reply)
    local at = add(tree, body, 0, { { F.argsz, 4 }, { F.plain_flags, 4 }, { F.region, 4 }, { F.count, 4 } })
    local text = region_name(body.number(8))
    if not reply or not at then return text end
    for _ = 1, math.min(body.number(12), 1024) do
        if not body.range(at, 40) then break end
        local branch = tree:add(vfio_user, body.range(at, 40), "Doorbell at " .. hex_at(body, at, 8))
        add(branch, body, at, { { F.offset, 8 }, { F.length, 8 }, { F.fd_index, 4 }, { F.fd_type, 4 },
                                { F.plain_flags, 4 } })
        add(branch, body, at + 32, { { F.datamatch, 8 } })
        at = at + 40
    end
    return string.format("%s, %d doorbells", text, body.number(12))
end

local function irq_name(body, at)
    local number = body.number(at)
    return number and (IRQS[number] or "interrupt " .. number) or "?"
end

local function irq_info(tree, body, reply)
    local at = add(tree, body, 0, { { F.argsz, 4 },
        { F.plain_flags, 4, F.irq_eventfd, F.irq_maskable, F.irq_automasked, F.irq_noresize },
        { F.irq, 4 }, { F.count, 4 } })
    return reply and at and string.format("%s, %d", irq_name(body, 8), body.number(12)) or irq_name(body, 8)
end

local function set_irqs(tree, body)
    local at = add(tree, body, 0, { { F.argsz, 4 },
        { F.plain_flags, 4, F.data_none, F.data_bool, F.data_eventfd, F.action_mask, F.action_unmask,
          F.action_trigger },
        { F.irq, 4 }, { F.start, 4 }, { F.count, 4 } })
    add_data(tree, body, at)
    if not at then return "" end
    local flags, words = body.number(4), {}
    for bit, word in pairs { [8] = "mask", [16] = "unmask", [32] = "trigger" } do
        if flags % (2 * bit) >= bit then words[#words + 1] = word end
    end
    local start, count = body.number(12), body.number(16)
    local which = count == 0 and "all off" or count == 1 and tostring(start) or start .. "-" .. start + count - 1
    return string.format("%s %s, %s", table.concat(words, " "), irq_name(body, 8), which)
end

-- Data of up to 8 bytes are a number.
local function add_value(tree, body, at, size)
    local range = body.range(at, size)
    if not range then
        add_data(tree, body, at)
        return "..."
    end
    if size > 8 or size < 1 then
        add_data(tree, body, at)
        return string.format("%d bytes", size)
    end
    tree:add_le(F.value, range)
    return hex(range)
end

-- Of REGION_READ, REGION_WRITE and the parts of REGION_WRITE_MULTI, from `at` on. with_data: the data come behind it.
local function access(tree, body, at, with_data, arrow)
    local data = add(tree, body, at, { { F.offset, 8 }, { F.region, 4 }, { F.count, 4 } })
    if not data then return "" end
    local region, count = body.number(at + 8), body.number(at + 12)
    local text = region_name(region) .. "+" .. hex_at(body, at, 8)
    local known = region == 7 and count <= 4 and body.number(at + 4) == 0 and CONFIG[body.number(at)]
    if known then text = text .. " (" .. known .. ")" end
    if not with_data then return string.format("%s, %d byte%s", text, count, count == 1 and "" or "s") end
    return text .. arrow .. add_value(tree, body, data, count)
end

local function region_read(tree, body, reply)
    return access(tree, body, 0, reply, " -> ")
end

local function region_write(tree, body, reply)
    return access(tree, body, 0, not reply, " <- ")
end

local function dma(tree, body, reply, write)
    -- The count of a reply to DMA_WRITE has 4 bytes in some clients.
    local at = add(tree, body, 0, { { F.address, 8 }, { F.length, body.have == 12 and 4 or 8 } })
    if reply ~= write then add_data(tree, body, at) end
    return at and string.format("%s, %s bytes", hex_at(body, 0, 8), hex_at(body, 8, body.have == 12 and 4 or 8)) or ""
end

local function dma_read(tree, body, reply)
    return dma(tree, body, reply, false)
end

local function dma_write(tree, body, reply)
    return dma(tree, body, reply, true)
end

local function dirty_pages(tree, body)
    local at = add(tree, body, 0, { { F.argsz, 4 }, { F.plain_flags, 4, F.dirty_start, F.dirty_stop, F.dirty_get } })
    add_data(tree, body, at)
    local flags = body.number(4) or 0
    return flags % 2 == 1 and "start" or flags % 4 >= 2 and "stop" or flags % 8 >= 4 and "get" or ""
end

local function write_multi(tree, body, reply)
    local at, writes = add(tree, body, 0, { { F.writes, 8 } }), body.number(0)
    while not reply and at and body.range(at, 24) do
        local branch = tree:add(vfio_user, body.range(at, 24), "Write")
        branch:append_text(": " .. access(branch, body, at, body.number(at + 12) <= 8, " <- "))
        at = at + 24
    end
    return writes and string.format("%d write%s", writes, writes == 1 and "" or "s") or ""
end

local function feature(tree, body, reply)
    local at = add(tree, body, 0, { { F.argsz, 4 },
        { F.plain_flags, 4, F.feature, F.feature_get, F.feature_set, F.feature_probe } })
    local flags = body.number(4)
    if not at or not flags then return "" end
    local number = flags % 0x10000
    local verb = flags % 0x80000 >= 0x40000 and "probe " or flags % 0x40000 >= 0x20000 and "set " or "get "
    local text = verb .. (FEATURES[number] or "feature " .. number)
    if body.have == at then return text end
    if number == 1 and body.range(at, 8) then
        local range = body.range(at, 8)
        for _, f in ipairs { F.mig_stop_copy, F.mig_p2p, F.mig_pre_copy } do tree:add_le(f, range) end
    elseif number == 2 and body.range(at, 8) then
        add(tree, body, at, { { F.state, 4 }, { F.state_fd, 4 } })
        text = text .. (verb == "set " and not reply and " " or ": ") .. (STATES[body.number(at)] or body.number(at))
    elseif number == 6 and body.range(at, 16) then
        add(tree, body, at, { { F.page_size, 8 }, { F.num_ranges, 4 } })
        add_data(tree, body, at + 16)
    elseif number == 8 and body.range(at, 24) then
        add(tree, body, at, { { F.address, 8 }, { F.length, 8 }, { F.page_size, 8 } })
        add_data(tree, body, at + 24)
    elseif number == 9 and body.range(at, 8) then
        add(tree, body, at, { { F.stop_length, 8 } })
    else
        add_data(tree, body, at)
    end
    return text
end

local function mig_data(tree, body)
    local at = add(tree, body, 0, { { F.argsz, 4 }, { F.data_size, 4 } })
    add_data(tree, body, at)
    return at and body.number(4) .. " bytes" or ""
end

local BODIES = {
    version, dma_map, dma_unmap, get_info, region_info, io_fds, irq_info, set_irqs, region_read, region_write, dma_read,
    dma_write, nil, dirty_pages, write_multi, feature, mig_data, mig_data,
}

-- ---- requests and their replies: by device, sender and id; a frame is seen first in the order of the file

local asked, requests, replies

function vfio_user.init()
    asked, requests, replies = {}, {}, {}
end

local function match(pinfo, from_client, is_reply, id, command)
    local interface = interface_of()
    local key = string.format("%s %s %d %d", interface and tostring(interface) or "-",
                              tostring(from_client ~= is_reply), id, command)
    if pinfo.visited then return end
    if not is_reply then
        asked[key] = { number = pinfo.number, time = pinfo.rel_ts }
    elseif asked[key] then
        requests[pinfo.number] = asked[key]
        replies[asked[key].number] = pinfo.number
        asked[key] = nil
    end
end

local function add_match(tree, pinfo)
    local request, reply = requests[pinfo.number], replies[pinfo.number]
    if reply then tree:add(F.reply, reply):set_generated() end
    if not request then return end
    tree:add(F.request, request.number):set_generated()
    local seconds = pinfo.rel_ts - request.time
    local whole = math.floor(seconds)
    tree:add(F.time, NSTime.new(whole, math.floor((seconds - whole) * 1e9 + 0.5))):set_generated()
end

-- ---- a message

function vfio_user.dissector(tvb, pinfo, tree)
    pinfo.cols.protocol = "vfio-user"
    if tvb:len() < 16 or tvb(4, 4):le_uint() < 16 then
        local branch = tree:add(vfio_user, tvb())
        branch:add_proto_expert_info(strange)
        pinfo.cols.info = string.format("%d bytes that are no message", tvb:reported_len())
        return
    end
    local id, command, size = tvb(0, 2):le_uint(), tvb(2, 2):le_uint(), tvb(4, 4):le_uint()
    local flags, errno = tvb(8, 4):le_uint(), tvb(12, 4):le_uint()
    local is_reply, failed = flags % 16 == 1, flags % 64 >= 32
    local from_client = (command == 11 or command == 12) == is_reply
    local name = COMMANDS[command] or "command " .. command
    local branch = tree:add(vfio_user, tvb(), string.format("vfio-user, %s%s", name, is_reply and ", reply" or ""))

    pinfo.cols.src = from_client and "client" or "host"
    pinfo.cols.dst = from_client and "host" or "client"
    branch:add_le(F.id, tvb(0, 2))
    branch:add_le(F.command, tvb(2, 2))
    branch:add_le(F.size, tvb(4, 4))
    local flag_branch = branch:add_le(F.flags, tvb(8, 4))
    for _, f in ipairs { F.type, F.no_reply, F.failed } do flag_branch:add_le(f, tvb(8, 4)) end
    branch:add_le(F.error, tvb(12, 4))
    match(pinfo, from_client, is_reply, id, command)
    add_match(branch, pinfo)

    local text = name .. (is_reply and " reply" or "")
    if failed then
        text = text .. ": " .. (ERRORS[errno] or "error " .. errno)
        branch:add_proto_expert_info(refused, ERRORS[errno] or tostring(errno))
    elseif BODIES[command] and tvb:len() > 16 then
        local more = BODIES[command](branch, body_of(tvb), is_reply)
        if more ~= "" then text = text .. " " .. more end
    end
    if tvb:len() < size then branch:add_proto_expert_info(cut) end
    pinfo.cols.info = text
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, vfio_user)
