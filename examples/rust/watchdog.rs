// SPDX-License-Identifier: BSD-3-Clause
//
// watchdog - a watchdog timer, in Rust with nothing but the standard library. CONTROL.ENABLE starts it; unless software
// writes the key 0x5a to KICK within TIMEOUT milliseconds, STATUS.BITE is set, the interrupt asserted (if CONTROL.IRQ
// says so), and BITES counts one more. LEFT reads how many milliseconds are left.
//
// It shows hooks for reads and writes, a read that is computed, a lock (TIMEOUT is read-only while the watchdog runs),
// guest errors, and state of its own that migrates. Everything runs on the device's thread; no panic leaves a callback.
//
//     rustc --edition 2021 --crate-type cdylib -C panic=abort -O -o watchdog.so watchdog.rs
#[path = "../../sdk/templates/rust/vfu.rs"]
mod vfu;

use std::ffi::CStr;
use std::mem::size_of;
use std::os::raw::{c_char, c_void};
use vfu::*;

const CONTROL: u32 = 0; // indexes in REGISTERS, and hooks
const TIMEOUT: u32 = 1;
const KICK: u32 = 2;
const STATUS: u32 = 3;
const LEFT: u32 = 4;
const BITES: u32 = 5;

const ENABLE: u64 = 2; // CONTROL; bit 0 is the mask of STATUS.BITE, which the host applies
const BITE: u64 = 1; // STATUS
const KEY: u64 = 0x5a;
const MILLISECOND: u64 = 1_000_000;
const CAPS: u64 = VFU_CAP_INTX | VFU_CAP_TIMERS | VFU_CAP_RESET | VFU_CAP_MIGRATION;
const EINVAL: i32 = 22;
const EOPNOTSUPP: i32 = 95;

/// What the host offers, looked up once: a host of this ABI has all of it.
#[derive(Clone, Copy)]
struct Host {
    table: *const vfu_host,
    get: unsafe extern "C" fn(*const vfu_host, u32, u32, u32) -> u64,
    set: unsafe extern "C" fn(*const vfu_host, u32, u32, u32, u64) -> i32,
    now: unsafe extern "C" fn(*const vfu_host) -> u64,
    timer_after: unsafe extern "C" fn(*const vfu_host, u64, u64, u32, u64) -> i64,
    timer_cancel: unsafe extern "C" fn(*const vfu_host, i64) -> i32,
    guest_error: unsafe extern "C" fn(*const vfu_host, *const c_char),
}

impl Host {
    unsafe fn new(table: *const vfu_host) -> Option<Host> {
        let host = &*table;
        let regs = host.extension?(table, c(VFU_EXT_REGMAP)) as *const vfu_host_regmap;
        let regs = regs.as_ref()?;
        Some(Host {
            table,
            get: regs.get?,
            set: regs.set?,
            now: host.now?,
            timer_after: host.timer_after?,
            timer_cancel: host.timer_cancel?,
            guest_error: host.guest_error?,
        })
    }

    fn get(&self, reg: u32) -> u64 {
        unsafe { (self.get)(self.table, reg, VFU_NONE, VFU_NONE) }
    }

    fn set(&self, reg: u32, value: u64) {
        unsafe { (self.set)(self.table, reg, VFU_NONE, VFU_NONE, value) };
    }

    fn now(&self) -> u64 {
        unsafe { (self.now)(self.table) }
    }

    fn guest_error(&self, message: &'static [u8]) {
        unsafe { (self.guest_error)(self.table, c(message)) }
    }
}

struct Watchdog {
    host: Host,
    timer: i64, // 0: it does not run
    end: u64,   // when the timer runs down, on this host's clock
}

impl Watchdog {
    fn stop(&mut self) {
        if self.timer > 0 {
            unsafe { (self.host.timer_cancel)(self.host.table, self.timer) };
        }
        self.timer = 0;
    }

    fn start(&mut self) {
        self.stop();
        let delay = self.host.get(TIMEOUT) * MILLISECOND;
        self.end = self.host.now() + delay;
        self.timer = unsafe { (self.host.timer_after)(self.host.table, delay, 0, 0, 0) };
    }

    fn control(&mut self, value: u64, old: u64) {
        if value & ENABLE == 0 {
            self.stop();
        } else if old & ENABLE == 0 {
            self.start();
        }
    }

    fn kick(&mut self, value: u64) {
        if value != KEY {
            self.host.guest_error(b"KICK was written with another value than the key 0x5a\0");
        } else if self.timer > 0 {
            self.start();
        }
    }

    fn bite(&mut self) {
        self.timer = 0;
        self.host.set(CONTROL, self.host.get(CONTROL) & !ENABLE);
        self.host.set(BITES, self.host.get(BITES) + 1);
        self.host.set(STATUS, BITE);
    }

    /// Nanoseconds until it bites.
    fn left(&self) -> u64 {
        if self.timer > 0 { self.end.saturating_sub(self.host.now()) } else { 0 }
    }
}

unsafe fn watchdog<'a>(device: *mut c_void) -> &'a mut Watchdog {
    &mut *(device as *mut Watchdog)
}

// ---- the register map: data, which the host applies

const fn field(name: &'static [u8], lsb: u8, access: u32) -> vfu_field {
    vfu_field { name: c(name), lsb, width: 1, access: access as u8, ..vfu_field::ZERO }
}

const fn reg(index: u32, name: &'static [u8], access: u32, doc: &'static [u8]) -> vfu_reg {
    vfu_reg {
        name: c(name),
        doc: c(doc),
        offset: 4 * index as u64,
        size: 4,
        group: VFU_NONE,
        access,
        hook: index,
        field_size: size_of::<vfu_field>() as u32,
        ..vfu_reg::ZERO
    }
}

static CONTROL_FIELDS: Table<[vfu_field; 2]> =
    Table([field(b"IRQ\0", 0, VFU_ACCESS_RW), field(b"ENABLE\0", 1, VFU_ACCESS_RW)]);
static STATUS_FIELDS: Table<[vfu_field; 1]> = Table([field(b"BITE\0", 0, VFU_ACCESS_W1C)]);

static REGISTERS: Table<[vfu_reg; 6]> = Table([
    vfu_reg {
        flags: VFU_REG_HOOK_WRITE,
        fields: &CONTROL_FIELDS.0 as *const vfu_field,
        nfields: 2,
        ..reg(CONTROL, b"CONTROL\0", VFU_ACCESS_RW, b"starts and stops the watchdog\0")
    },
    vfu_reg { reset: 1000, ..reg(TIMEOUT, b"TIMEOUT\0", VFU_ACCESS_RW, b"milliseconds; locked while it runs\0") },
    vfu_reg { flags: VFU_REG_HOOK_WRITE, ..reg(KICK, b"KICK\0", VFU_ACCESS_WO, b"the key 0x5a starts the time again\0") },
    vfu_reg {
        fields: &STATUS_FIELDS.0 as *const vfu_field,
        nfields: 1,
        ..reg(STATUS, b"STATUS\0", VFU_ACCESS_RW, b"why the interrupt is asserted\0")
    },
    vfu_reg { flags: VFU_REG_HOOK_READ, ..reg(LEFT, b"LEFT\0", VFU_ACCESS_RO, b"milliseconds left, rounded up\0") },
    vfu_reg { flags: VFU_REG_STICKY, ..reg(BITES, b"BITES\0", VFU_ACCESS_RO, b"how often it bit since power-on\0") },
]);

static LOCKS: Table<[vfu_lock; 1]> =
    Table([vfu_lock { reg: TIMEOUT, cond: CONTROL, mask: ENABLE, value: ENABLE, ..vfu_lock::ZERO }]);

static MAP: Table<vfu_regmap> = Table(vfu_regmap {
    struct_size: size_of::<vfu_regmap>() as u32,
    regs: &REGISTERS.0 as *const vfu_reg,
    nregs: 6,
    reg_size: size_of::<vfu_reg>() as u32,
    locks: &LOCKS.0 as *const vfu_lock,
    nlocks: 1,
    lock_size: size_of::<vfu_lock>() as u32,
    ..vfu_regmap::ZERO
});

static BARS: Table<[vfu_bar; 1]> = Table([vfu_bar { size: 4096, access_sizes: 4, ..vfu_bar::ZERO }]);

// ---- callbacks

unsafe extern "C" fn describe(_: *const vfu_host, _: *const vfu_params, desc: *mut vfu_desc) -> i32 {
    let desc = &mut *desc;
    desc.caps = CAPS;
    desc.vendor = 0x1234;
    desc.device = 0x0d06;
    desc.class_code = 0x088000; // a system peripheral
    desc.bars = &BARS.0 as *const vfu_bar;
    desc.nbars = 1;
    desc.bar_size = size_of::<vfu_bar>() as u32;
    desc.regmap = &MAP.0;
    desc.irq_level = 1 + STATUS;
    desc.irq_mask = 1 + CONTROL;
    0
}

unsafe extern "C" fn create(host: *const vfu_host, _: *const vfu_params, device: *mut *mut c_void) -> i32 {
    match Host::new(host) {
        Some(host) => {
            *device = Box::into_raw(Box::new(Watchdog { host, timer: 0, end: 0 })) as *mut c_void;
            0
        }
        None => -EOPNOTSUPP,
    }
}

unsafe extern "C" fn destroy(device: *mut c_void) {
    if !device.is_null() {
        drop(Box::from_raw(device as *mut Watchdog));
    }
}

unsafe extern "C" fn on_write(device: *mut c_void, call: *mut vfu_reg_call) -> i32 {
    match (*call).hook {
        CONTROL => watchdog(device).control((*call).value, (*call).old),
        KICK => watchdog(device).kick((*call).value),
        _ => return -EINVAL,
    }
    0
}

unsafe extern "C" fn on_read(device: *mut c_void, call: *mut vfu_reg_call) -> i32 {
    (*call).value = (watchdog(device).left() + MILLISECOND - 1) / MILLISECOND;
    VFU_REPLACE
}

unsafe extern "C" fn on_event(device: *mut c_void, _: u32, _: u64) {
    watchdog(device).bite();
}

// Registers and timers are reset already.
unsafe extern "C" fn on_reset(device: *mut c_void, _: u32) -> i32 {
    watchdog(device).timer = 0;
    0
}

// The host saves the timer, which keeps its id. Clocks differ from host to host: what is saved is the time left.
unsafe extern "C" fn on_save(device: *mut c_void, sink: *mut vfu_sink) -> i32 {
    let state = [watchdog(device).timer as u64, watchdog(device).left()];
    match (*sink).write {
        Some(write) => write(sink, state.as_ptr() as *const c_void, 16),
        None => -EINVAL,
    }
}

unsafe extern "C" fn on_load(device: *mut c_void, source: *mut vfu_source) -> i32 {
    let mut state = [0u64; 2];
    let status = match (*source).read {
        Some(read) => read(source, state.as_mut_ptr() as *mut c_void, 16),
        None => -EINVAL,
    };
    let it = watchdog(device);
    if status == 0 {
        it.timer = state[0] as i64;
        it.end = it.host.now().saturating_add(state[1]);
    }
    status
}

static HOOKS: Table<vfu_regmap_ops> = Table(vfu_regmap_ops {
    struct_size: size_of::<vfu_regmap_ops>() as u32,
    read: Some(on_read),
    write: Some(on_write),
    ..vfu_regmap_ops::ZERO
});

static MIGRATION: Table<vfu_migration_ops> = Table(vfu_migration_ops {
    struct_size: size_of::<vfu_migration_ops>() as u32,
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
    struct_size: size_of::<vfu_plugin>() as u32,
    abi_version: VFU_ABI_VERSION,
    caps: CAPS,
    name: c(b"watchdog\0"),
    version: c(b"1.0\0"),
    summary: c(b"A watchdog timer in Rust\0"),
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
