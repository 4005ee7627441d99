// @NAME@ - an alarm clock on the PCI bus: write DELAY, and that many microseconds later STATUS.RANG is set and the
// interrupt asserted until software writes 1 to it. COUNT says how often it rang. Change it into your device.
//
// Everything runs on the device's thread. vfu-plugin(3) describes every struct and function, vfu-capabilities(7) the
// flags. No exception may leave a callback.
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <new>

#include <vfu/plugin.h>

namespace {

enum : std::uint32_t { DELAY, STATUS, COUNT, REGISTERS }; // indexes in Map::regs
constexpr std::uint32_t EVENT_RING = 0;
constexpr std::uint64_t CAPS = VFU_CAP_INTX | VFU_CAP_TIMERS | VFU_CAP_RESET | VFU_CAP_MIGRATION;

struct Device {
    const vfu_host *host;
    const vfu_host_regmap *regs; // the device's own way to its registers
    std::int64_t timer = 0;

    std::uint64_t get(std::uint32_t reg) const { return regs->get(host, reg, VFU_NONE, VFU_NONE); }
    void set(std::uint32_t reg, std::uint64_t value) const { regs->set(host, reg, VFU_NONE, VFU_NONE, value); }

    // Software has written DELAY; the register already holds the value.
    void start(std::uint64_t microseconds)
    {
        if (timer > 0)
            host->timer_cancel(host, timer);
        timer = microseconds ? host->timer_after(host, microseconds * 1000, 0, EVENT_RING, 0) : 0;
    }

    // The timer has run down. STATUS is the interrupt's level (irq_level below): setting it is all.
    void ring()
    {
        timer = 0;
        set(STATUS, 1);
        set(COUNT, get(COUNT) + 1);
    }
};

Device &device(void *self)
{
    return *static_cast<Device *>(self);
}

// Masks, resets and names: what this table says is done by the host.
struct Map {
    vfu_field rang = {};
    vfu_reg regs[REGISTERS] = {};
    vfu_regmap map = {};

    void add(std::uint32_t index, const char *name, std::uint64_t offset, std::uint32_t access, const char *doc)
    {
        vfu_reg &reg = regs[index];
        reg.name = name;
        reg.doc = doc;
        reg.offset = offset;
        reg.size = 4;
        reg.access = access;
        reg.group = VFU_NONE;
        reg.hook = index;
    }

    Map()
    {
        rang.name = "RANG";
        rang.doc = "the alarm went off";
        rang.width = 1;
        rang.access = VFU_ACCESS_W1C;
        add(DELAY, "DELAY", 0x00, VFU_ACCESS_RW, "microseconds until the alarm goes off; 0 stops it");
        add(STATUS, "STATUS", 0x04, VFU_ACCESS_RW, "why the interrupt is asserted");
        add(COUNT, "COUNT", 0x08, VFU_ACCESS_RO, "how often it went off");
        regs[DELAY].flags = VFU_REG_HOOK_WRITE;
        regs[STATUS].fields = &rang;
        regs[STATUS].nfields = 1;
        regs[STATUS].field_size = sizeof rang;
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
        b.size = 4096;
        b.access_sizes = 4;
        return b;
    }();

    desc->caps = CAPS;
    desc->vendor = 0x1234; // your own ids
    desc->device = 0x0001;
    desc->class_code = 0xff0000;
    desc->bars = &bar;
    desc->nbars = 1;
    desc->bar_size = sizeof bar;
    desc->regmap = &registers.map;
    desc->irq_level = 1 + STATUS;
    return 0;
}

std::int32_t create(const vfu_host *host, const vfu_params *, void **self)
{
    auto *regs = static_cast<const vfu_host_regmap *>(host->extension(host, VFU_EXT_REGMAP));

    *self = new (std::nothrow) Device{ host, regs };
    return *self ? 0 : -ENOMEM;
}

std::int32_t on_write(void *self, vfu_reg_call *call)
{
    device(self).start(call->value);
    return 0;
}

// Registers and timers are reset already.
std::int32_t on_reset(void *self, std::uint32_t)
{
    device(self).timer = 0;
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
    // State that the host does not know: which of its timers is ours. It keeps its id wherever the device goes.
    static const vfu_migration_ops migration = [] {
        vfu_migration_ops ops = {};
        ops.struct_size = sizeof ops;
        ops.save = [](void *self, vfu_sink *sink) {
            return sink->write(sink, &device(self).timer, sizeof(Device::timer));
        };
        ops.load = [](void *self, vfu_source *source) {
            return source->read(source, &device(self).timer, sizeof(Device::timer));
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
    static const vfu_plugin plugin = [] {
        vfu_plugin p = {};
        p.struct_size = sizeof p;
        p.abi_version = VFU_ABI_VERSION;
        p.caps = CAPS;
        p.name = "@NAME@";
        p.version = "0.1";
        p.summary = "An alarm clock";
        p.sdk = VFU_SDK_VERSION;
        p.describe = describe;
        p.create = create;
        p.destroy = [](void *self) { delete static_cast<Device *>(self); };
        p.reset = on_reset;
        p.event = [](void *self, std::uint32_t, std::uint64_t) { device(self).ring(); };
        p.extension = extension;
        return p;
    }();

    return &plugin;
}
