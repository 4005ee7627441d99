// SPDX-License-Identifier: BSD-3-Clause
//
// crc32 - a checksum engine, in C++17. Software writes a block of any access width to the DATA window, the engine takes
// the bytes in the order of their addresses, and CRC holds the CRC-32 of IEEE 802.3 of all bytes since CONTROL.START.
// STATUS.LIMIT is set, and the interrupt asserted, when COUNT reaches LIMIT.
//
// It shows a register map built by a constructor, a raw window beside registers (VFU_BAR_RAW), a level interrupt with a
// mask, a parameter, and state of its own that migrates. Everything runs on the device's thread; no exception leaves a
// callback.
//
//     c++ -std=c++17 -O2 -shared -fPIC -fvisibility=hidden $(pkg-config --cflags vfu-plugin) -o crc32.so crc32.cpp
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <new>

#include <vfu/plugin.h>

namespace {

enum Register : std::uint32_t { CONTROL, STATUS, MASK, COUNT, LIMIT, CRC, REGISTERS };
constexpr std::uint64_t WINDOW = 0x800, WINDOW_SIZE = 0x800; // the upper half of the BAR
constexpr std::uint64_t CAPS = VFU_CAP_INTX | VFU_CAP_RESET | VFU_CAP_MIGRATION;

constexpr std::array<std::uint32_t, 256> make_table()
{
    std::array<std::uint32_t, 256> table = {};

    for (std::uint32_t i = 0; i < 256; i++) {
        std::uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        table[i] = c;
    }
    return table;
}

class Engine {
public:
    Engine(const vfu_host *table, std::uint64_t bytes)
        : host(table), regs(static_cast<const vfu_host_regmap *>(table->extension(table, VFU_EXT_REGMAP))), limit(bytes)
    {
    }

    void start()
    {
        sum = ~0u;
        set(COUNT, 0);
        set(CRC, 0);
    }

    void reset()
    {
        sum = ~0u;
        set(LIMIT, limit);
    }

    void take(std::uint64_t value, std::uint32_t size)
    {
        static constexpr auto table = make_table();
        const std::uint64_t before = get(COUNT), after = before + size;

        for (std::uint32_t i = 0; i < size; i++)
            sum = table[(sum ^ (value >> 8 * i)) & 0xff] ^ (sum >> 8);
        set(CRC, ~sum);
        set(COUNT, after);
        if (before < get(LIMIT) && after >= get(LIMIT))
            set(STATUS, 1); // the interrupt's level: the host raises it
    }

    std::uint32_t sum = ~0u; // the CRC before its final complement: what no register holds

private:
    std::uint64_t get(Register reg) const { return regs->get(host, reg, VFU_NONE, VFU_NONE); }
    void set(Register reg, std::uint64_t value) const { regs->set(host, reg, VFU_NONE, VFU_NONE, value); }

    const vfu_host *host;
    const vfu_host_regmap *regs;
    std::uint64_t limit;
};

Engine &engine(void *self)
{
    return *static_cast<Engine *>(self);
}

struct Map {
    vfu_field start = field("START", VFU_ACCESS_WO, "begins a new checksum");
    vfu_field limit = field("LIMIT", VFU_ACCESS_W1C, "COUNT has reached LIMIT");
    vfu_field mask = field("LIMIT", VFU_ACCESS_RW, "lets STATUS.LIMIT assert the interrupt");
    vfu_reg regs[REGISTERS] = {};
    vfu_regmap map = {};

    static vfu_field field(const char *name, std::uint8_t access, const char *doc)
    {
        vfu_field f = {};
        f.name = name;
        f.doc = doc;
        f.width = 1;
        f.access = access;
        return f;
    }

    vfu_reg &add(Register index, const char *name, std::uint32_t access, const char *doc, const vfu_field *only = nullptr)
    {
        vfu_reg &reg = regs[index];
        reg.name = name;
        reg.doc = doc;
        reg.group = VFU_NONE;
        reg.offset = 4 * index;
        reg.size = 4;
        reg.access = access;
        reg.hook = index;
        reg.fields = only;
        reg.nfields = only ? 1 : 0;
        reg.field_size = sizeof *only;
        return reg;
    }

    Map()
    {
        add(CONTROL, "CONTROL", VFU_ACCESS_RW, "commands", &start).flags = VFU_REG_HOOK_WRITE;
        add(STATUS, "STATUS", VFU_ACCESS_RW, "why the interrupt is asserted", &limit);
        add(MASK, "MASK", VFU_ACCESS_RW, "what may assert it", &mask);
        add(COUNT, "COUNT", VFU_ACCESS_RO, "bytes since START");
        add(LIMIT, "LIMIT", VFU_ACCESS_RW, "the value of COUNT that sets STATUS.LIMIT");
        add(CRC, "CRC", VFU_ACCESS_RO, "CRC-32 of those bytes");
        map.struct_size = sizeof map;
        map.regs = regs;
        map.nregs = REGISTERS;
        map.reg_size = sizeof regs[0];
    }
};

std::int32_t describe(const vfu_host *, const vfu_params *, vfu_desc *desc)
{
    static const Map registers;
    static const vfu_bar bar = [] {
        vfu_bar b = {};
        b.size = WINDOW + WINDOW_SIZE;
        b.flags = VFU_BAR_RAW; // what no register covers comes to access()
        return b;
    }();

    desc->caps = CAPS;
    desc->vendor = 0x1234;
    desc->device = 0xc3c2;
    desc->class_code = 0x0b4000; // a co-processor
    desc->bars = &bar;
    desc->nbars = 1;
    desc->bar_size = sizeof bar;
    desc->regmap = &registers.map;
    desc->irq_level = 1 + STATUS;
    desc->irq_mask = 1 + MASK;
    return 0;
}

std::int32_t create(const vfu_host *host, const vfu_params *, void **self)
{
    std::int64_t limit = 0;

    host->param_int(host, "limit", &limit);
    *self = new (std::nothrow) Engine(host, static_cast<std::uint64_t>(limit));
    return *self ? 0 : -ENOMEM;
}

void destroy(void *self)
{
    delete static_cast<Engine *>(self);
}

std::int32_t access(void *self, vfu_access *a)
{
    if (a->offset < WINDOW || a->size > 8)
        return -EINVAL;
    if (a->flags & VFU_ACCESS_WRITE)
        engine(self).take(a->value, a->size);
    else
        a->value = 0;
    return 0;
}

std::int32_t reset(void *self, std::uint32_t)
{
    engine(self).reset();
    return 0;
}

std::int32_t on_write(void *self, vfu_reg_call *call)
{
    if (call->hook == CONTROL && (call->raw & 1))
        engine(self).start();
    return 0;
}

const void *extension(const char *id)
{
    static const vfu_regmap_ops hooks = [] {
        vfu_regmap_ops ops = {};
        ops.struct_size = sizeof ops;
        ops.write = on_write;
        return ops;
    }();
    static const vfu_migration_ops migration = [] {
        vfu_migration_ops ops = {};
        ops.struct_size = sizeof ops;
        ops.save = [](void *self, vfu_sink *sink) { return sink->write(sink, &engine(self).sum, sizeof(Engine::sum)); };
        ops.load = [](void *self, vfu_source *source) {
            return source->read(source, &engine(self).sum, sizeof(Engine::sum));
        };
        return ops;
    }();

    if (std::strcmp(id, VFU_EXT_MIGRATION) == 0)
        return &migration;
    return std::strcmp(id, VFU_EXT_REGMAP) == 0 ? &hooks : nullptr;
}

} // namespace

extern "C" const vfu_plugin *vfu_plugin_entry(void)
{
    static const vfu_param limit = [] {
        vfu_param p = {};
        p.name = "limit";
        p.doc = "LIMIT after a reset";
        p.type = VFU_PARAM_INT;
        p.fallback = "0xffffffff";
        p.flags = VFU_PARAM_HAS_MIN | VFU_PARAM_HAS_MAX;
        p.min = 1;
        p.max = 0xffffffff;
        return p;
    }();
    static const vfu_plugin plugin = [] {
        vfu_plugin p = {};
        p.struct_size = sizeof p;
        p.abi_version = VFU_ABI_VERSION;
        p.caps = CAPS;
        p.name = "crc32";
        p.version = "1.0";
        p.summary = "A CRC-32 engine in C++";
        p.sdk = VFU_SDK_VERSION;
        p.params = &limit;
        p.nparams = 1;
        p.param_size = sizeof limit;
        p.describe = describe;
        p.create = create;
        p.destroy = destroy;
        p.access = access;
        p.reset = reset;
        p.extension = extension;
        return p;
    }();

    return &plugin;
}
