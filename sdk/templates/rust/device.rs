// @NAME@ - an alarm clock on the PCI bus: write DELAY, and that many microseconds later STATUS.RANG is set and the
// interrupt asserted until software writes 1 to it. COUNT says how often it rang. Change it into your device.
//
// Everything runs on the device's thread. vfu-plugin(3) describes every struct and function, vfu-capabilities(7) the
// flags. No panic may leave a callback: it is built with panic=abort.
mod vfu;

use std::ffi::CStr;
use std::os::raw::{c_char, c_void};
use vfu::*;

const DELAY: u32 = 0; // indexes in REGISTERS
const STATUS: u32 = 1;
const COUNT: u32 = 2;
const EVENT_RING: u32 = 0;
const CAPS: u64 = VFU_CAP_INTX | VFU_CAP_TIMERS | VFU_CAP_RESET | VFU_CAP_MIGRATION;

struct Device {
    host: *const vfu_host,
    regs: *const vfu_host_regmap, // the device's own way to its registers
    timer: i64,
}

impl Device {
    unsafe fn get(&self, reg: u32) -> u64 {
        (*self.regs).get.map_or(0, |get| get(self.host, reg, VFU_NONE, VFU_NONE))
    }

    unsafe fn set(&self, reg: u32, value: u64) {
        (*self.regs).set.map(|set| set(self.host, reg, VFU_NONE, VFU_NONE, value));
    }

    // Software has written DELAY; the register already holds the value.
    unsafe fn start(&mut self, microseconds: u64) {
        let host = &*self.host;
        if let (true, Some(cancel)) = (self.timer > 0, host.timer_cancel) {
            cancel(self.host, self.timer);
        }
        self.timer = match host.timer_after {
            Some(after) if microseconds > 0 => after(self.host, microseconds * 1000, 0, EVENT_RING, 0),
            _ => 0,
        };
    }

    // The timer has run down. STATUS is the interrupt's level (irq_level below): setting it is all.
    unsafe fn ring(&mut self) {
        self.timer = 0;
        self.set(STATUS, 1);
        self.set(COUNT, self.get(COUNT) + 1);
    }
}

// Masks, resets and names: what these tables say is done by the host.
static STATUS_FIELDS: Table<[vfu_field; 1]> = Table([vfu_field {
    name: c(b"RANG\0"),
    doc: c(b"the alarm went off\0"),
    lsb: 0,
    width: 1,
    access: VFU_ACCESS_W1C as u8,
    ..vfu_field::ZERO
}]);

const REG: vfu_reg = vfu_reg { size: 4, group: VFU_NONE, ..vfu_reg::ZERO };
static REGISTERS: Table<[vfu_reg; 3]> = Table([
    vfu_reg { name: c(b"DELAY\0"), offset: 0x00, flags: VFU_REG_HOOK_WRITE, hook: DELAY, ..REG },
    vfu_reg {
        name: c(b"STATUS\0"),
        offset: 0x04,
        fields: &STATUS_FIELDS.0 as *const vfu_field,
        nfields: 1,
        field_size: std::mem::size_of::<vfu_field>() as u32,
        ..REG
    },
    vfu_reg { name: c(b"COUNT\0"), offset: 0x08, access: VFU_ACCESS_RO, ..REG },
]);

static MAP: Table<vfu_regmap> = Table(vfu_regmap {
    struct_size: std::mem::size_of::<vfu_regmap>() as u32,
    regs: &REGISTERS.0 as *const vfu_reg,
    nregs: 3,
    reg_size: std::mem::size_of::<vfu_reg>() as u32,
    ..vfu_regmap::ZERO
});

static BARS: Table<[vfu_bar; 1]> = Table([vfu_bar { index: 0, size: 4096, access_sizes: 4, ..vfu_bar::ZERO }]);

unsafe extern "C" fn on_write(device: *mut c_void, call: *mut vfu_reg_call) -> i32 {
    (*(device as *mut Device)).start((*call).value);
    0
}

unsafe extern "C" fn on_event(device: *mut c_void, _event: u32, _arg: u64) {
    (*(device as *mut Device)).ring();
}

// Registers and timers are reset already.
unsafe extern "C" fn on_reset(device: *mut c_void, _kind: u32) -> i32 {
    (*(device as *mut Device)).timer = 0;
    0
}

// State that the host does not know: which of its timers is ours. It keeps its id wherever the device goes.
unsafe extern "C" fn on_save(device: *mut c_void, sink: *mut vfu_sink) -> i32 {
    let timer = &(*(device as *mut Device)).timer as *const i64;
    (*sink).write.map_or(0, |write| write(sink, timer as *const c_void, 8))
}

unsafe extern "C" fn on_load(device: *mut c_void, source: *mut vfu_source) -> i32 {
    let timer = &mut (*(device as *mut Device)).timer as *mut i64;
    (*source).read.map_or(0, |read| read(source, timer as *mut c_void, 8))
}

unsafe extern "C" fn describe(_: *const vfu_host, _: *const vfu_params, desc: *mut vfu_desc) -> i32 {
    let desc = &mut *desc;
    desc.caps = CAPS;
    desc.vendor = 0x1234; // your own ids
    desc.device = 0x0001;
    desc.class_code = 0xff0000;
    desc.bars = &BARS.0 as *const vfu_bar;
    desc.nbars = 1;
    desc.bar_size = std::mem::size_of::<vfu_bar>() as u32;
    desc.regmap = &MAP.0;
    desc.irq_level = 1 + STATUS;
    0
}

unsafe extern "C" fn create(host: *const vfu_host, _: *const vfu_params, device: *mut *mut c_void) -> i32 {
    let regs = match (*host).extension {
        Some(extension) => extension(host, c(VFU_EXT_REGMAP)) as *const vfu_host_regmap,
        None => return -95, // EOPNOTSUPP; every host has it
    };
    *device = Box::into_raw(Box::new(Device { host, regs, timer: 0 })) as *mut c_void;
    0
}

unsafe extern "C" fn destroy(device: *mut c_void) {
    if !device.is_null() {
        drop(Box::from_raw(device as *mut Device));
    }
}

static HOOKS: Table<vfu_regmap_ops> = Table(vfu_regmap_ops {
    struct_size: std::mem::size_of::<vfu_regmap_ops>() as u32,
    write: Some(on_write),
    ..vfu_regmap_ops::ZERO
});

static MIGRATION: Table<vfu_migration_ops> = Table(vfu_migration_ops {
    struct_size: std::mem::size_of::<vfu_migration_ops>() as u32,
    save: Some(on_save),
    load: Some(on_load),
    ..vfu_migration_ops::ZERO
});

unsafe extern "C" fn extension(id: *const c_char) -> *const c_void {
    match CStr::from_ptr(id).to_bytes_with_nul() {
        VFU_EXT_REGMAP => &HOOKS as *const _ as *const c_void,
        VFU_EXT_MIGRATION => &MIGRATION as *const _ as *const c_void,
        _ => std::ptr::null(),
    }
}

static PLUGIN: Table<vfu_plugin> = Table(vfu_plugin {
    struct_size: std::mem::size_of::<vfu_plugin>() as u32,
    abi_version: VFU_ABI_VERSION,
    caps: CAPS,
    name: c(b"@NAME@\0"),
    version: c(b"0.1\0"),
    summary: c(b"An alarm clock\0"),
    sdk: c(VFU_SDK_VERSION),
    describe: Some(describe),
    create: Some(create),
    destroy: Some(destroy),
    reset: Some(on_reset),
    event: Some(on_event),
    extension: Some(extension),
    ..vfu_plugin::ZERO
});

#[no_mangle]
pub extern "C" fn vfu_plugin_entry() -> *const vfu_plugin {
    &PLUGIN.0
}
