// SPDX-License-Identifier: BSD-3-Clause
//
// vfu.rs - vfu/plugin.h for Rust: the same names and the same layout. Made from the header, which says what
// everything means. Strings are bytes with a NUL at the end. Plain core, no crates.
#![allow(non_camel_case_types, dead_code)]

use std::os::raw::{c_char, c_void};

/// A table that never changes, with pointers in it: what the plugin hands to the host.
#[repr(transparent)]
pub struct Table<T>(pub T);
unsafe impl<T> Sync for Table<T> {}

/// The pointer to a string of the host's: c(b"name\0").
pub const fn c(text: &'static [u8]) -> *const c_char {
    text.as_ptr() as *const c_char
}

/// The host knows what is in it.
#[repr(C)]
pub struct vfu_stream {
    hidden: [u8; 0],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_enum {
    pub name: *const c_char,
    pub value: u64,
}
impl vfu_enum {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_field {
    pub name: *const c_char,
    pub doc: *const c_char,
    pub lsb: u8,
    pub width: u8,
    pub access: u8,
    pub flags: u8,
    pub nenums: u32,
    pub enums: *const vfu_enum,
    pub reset: u64,
}
impl vfu_field {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_reg {
    pub name: *const c_char,
    pub doc: *const c_char,
    pub region: u32,
    pub group: u32,
    pub offset: u64,
    pub size: u32,
    pub access: u32,
    pub count: u32,
    pub flags: u32,
    pub stride: u64,
    pub reset: u64,
    pub hook: u32,
    pub nfields: u32,
    pub fields: *const vfu_field,
    pub field_size: u32,
    pub reserved: u32,
}
impl vfu_reg {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_group {
    pub name: *const c_char,
    pub region: u32,
    pub count: u32,
    pub offset: u64,
    pub stride: u64,
}
impl vfu_group {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_lock {
    pub reg: u32,
    pub cond: u32,
    pub mask: u64,
    pub value: u64,
    pub invert: u32,
    pub hook: u32,
}
impl vfu_lock {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_regmap {
    pub struct_size: u32,
    pub reserved: u32,
    pub regs: *const vfu_reg,
    pub nregs: u32,
    pub reg_size: u32,
    pub groups: *const vfu_group,
    pub ngroups: u32,
    pub group_size: u32,
    pub locks: *const vfu_lock,
    pub nlocks: u32,
    pub lock_size: u32,
}
impl vfu_regmap {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_area {
    pub offset: u64,
    pub size: u64,
}
impl vfu_area {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_bar {
    pub index: u32,
    pub r#type: u32,
    pub size: u64,
    pub flags: u32,
    pub access_sizes: u32,
    pub unmapped: u32,
    pub nareas: u32,
    pub areas: *const vfu_area,
    pub area_size: u32,
    pub reserved: u32,
}
impl vfu_bar {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_pci_cap {
    pub id: u8,
    pub reserved: u8,
    pub size: u16,
    pub reserved2: u32,
    pub bytes: *const u8,
}
impl vfu_pci_cap {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_doorbell {
    pub bar: u32,
    pub size: u32,
    pub offset: u64,
    pub r#match: u64,
    pub flags: u32,
    pub share: u32,
}
impl vfu_doorbell {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_desc {
    pub struct_size: u32,
    pub pci_flags: u32,
    pub caps: u64,
    pub needs: u64,
    pub name: *const c_char,
    pub doc: *const c_char,
    pub vendor: u16,
    pub device: u16,
    pub subsystem_vendor: u16,
    pub subsystem: u16,
    pub class_code: u32,
    pub revision: u32,
    pub msi_vectors: u32,
    pub msix_vectors: u32,
    pub msix_bar: u32,
    pub msix_table: u32,
    pub msix_pba: u32,
    pub irq_level: u32,
    pub irq_mask: u32,
    pub bars: *const vfu_bar,
    pub nbars: u32,
    pub bar_size: u32,
    pub pci_caps: *const vfu_pci_cap,
    pub npci_caps: u32,
    pub pci_cap_size: u32,
    pub regmap: *const vfu_regmap,
    pub rom: *const u8,
    pub rom_size: u64,
    pub self_: *mut c_void,
    pub doorbells: *const vfu_doorbell,
    pub ndoorbells: u32,
    pub doorbell_size: u32,
}
impl vfu_desc {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_param {
    pub name: *const c_char,
    pub doc: *const c_char,
    pub r#type: u32,
    pub flags: u32,
    pub fallback: *const c_char,
    pub choices: *const *const c_char,
    pub min: i64,
    pub max: i64,
}
impl vfu_param {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_params {
    pub struct_size: u32,
    pub nitems: u32,
    pub source: *const c_char,
    pub items: *const *const c_char,
}
impl vfu_params {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_access {
    pub struct_size: u32,
    pub region: u32,
    pub offset: u64,
    pub size: u32,
    pub flags: u32,
    pub value: u64,
    pub data: *mut u8,
}
impl vfu_access {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_reg_call {
    pub struct_size: u32,
    pub hook: u32,
    pub reg: u32,
    pub index: u32,
    pub group_index: u32,
    pub size: u32,
    pub value: u64,
    pub old: u64,
    pub raw: u64,
}
impl vfu_reg_call {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_regmap_ops {
    pub struct_size: u32,
    pub reserved: u32,
    pub read: Option<unsafe extern "C" fn(*mut c_void, *mut vfu_reg_call) -> i32>,
    pub write: Option<unsafe extern "C" fn(*mut c_void, *mut vfu_reg_call) -> i32>,
    pub locked: Option<unsafe extern "C" fn(*mut c_void, u32, *const vfu_reg_call) -> i32>,
}
impl vfu_regmap_ops {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_client {
    pub struct_size: u32,
    pub max_msg_fds: u32,
    pub caps: u64,
    pub max_data_xfer_size: u64,
}
impl vfu_client {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_dma_op {
    pub struct_size: u32,
    pub flags: u32,
    pub addr: u64,
    pub len: u64,
    pub buf: *mut c_void,
    pub done: Option<unsafe extern "C" fn(*mut c_void, *mut vfu_dma_op, i32)>,
    pub user: *mut c_void,
    pub reserved: [u64; 6],
}
impl vfu_dma_op {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_dma_window {
    pub struct_size: u32,
    pub prot: u32,
    pub addr: u64,
    pub len: u64,
    pub data: *mut u8,
    pub reserved: [u64; 4],
}
impl vfu_dma_window {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_sink {
    pub write: Option<unsafe extern "C" fn(*mut vfu_sink, *const c_void, u64) -> i32>,
}
impl vfu_sink {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_source {
    pub left: Option<unsafe extern "C" fn(*mut vfu_source) -> u64>,
    pub read: Option<unsafe extern "C" fn(*mut vfu_source, *mut c_void, u64) -> i32>,
}
impl vfu_source {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_migration_ops {
    pub struct_size: u32,
    pub reserved: u32,
    pub save: Option<unsafe extern "C" fn(*mut c_void, *mut vfu_sink) -> i32>,
    pub load: Option<unsafe extern "C" fn(*mut c_void, *mut vfu_source) -> i32>,
}
impl vfu_migration_ops {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_config_call {
    pub struct_size: u32,
    pub offset: u32,
    pub size: u32,
    pub old: u32,
    pub value: u32,
    pub raw: u32,
}
impl vfu_config_call {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_config_ops {
    pub struct_size: u32,
    pub reserved: u32,
    pub written: Option<unsafe extern "C" fn(*mut c_void, *const vfu_config_call)>,
}
impl vfu_config_ops {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_introspect {
    pub struct_size: u32,
    pub reserved: u32,
    pub eval: Option<unsafe extern "C" fn(*mut c_void, *const c_char, *mut c_char, u32) -> i32>,
}
impl vfu_introspect {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_inner {
    pub struct_size: u32,
    pub reserved: u32,
    pub plugin: *const vfu_plugin,
    pub host: *const vfu_host,
    pub params: *const vfu_params,
    pub self_: *mut c_void,
}
impl vfu_inner {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_host {
    pub struct_size: u32,
    pub abi_version: u32,
    pub caps: u64,
    pub version: *const c_char,
    pub ctx: *mut c_void,
    pub extension: Option<unsafe extern "C" fn(*const vfu_host, *const c_char) -> *const c_void>,
    pub granted: Option<unsafe extern "C" fn(*const vfu_host) -> u64>,
    pub log: Option<unsafe extern "C" fn(*const vfu_host, u32, *const c_char)>,
    pub guest_error: Option<unsafe extern "C" fn(*const vfu_host, *const c_char)>,
    pub params_declare: Option<unsafe extern "C" fn(*const vfu_host, *const vfu_param, u32, u32) -> i32>,
    pub param_int: Option<unsafe extern "C" fn(*const vfu_host, *const c_char, *mut i64) -> i32>,
    pub param_number: Option<unsafe extern "C" fn(*const vfu_host, *const c_char, *mut f64) -> i32>,
    pub param_string: Option<unsafe extern "C" fn(*const vfu_host, *const c_char, *mut *const c_char) -> i32>,
    pub irq_raise: Option<unsafe extern "C" fn(*const vfu_host, u32) -> i32>,
    pub irq_lower: Option<unsafe extern "C" fn(*const vfu_host, u32) -> i32>,
    pub irq_signal: Option<unsafe extern "C" fn(*const vfu_host, u32) -> i32>,
    pub dma_read: Option<unsafe extern "C" fn(*const vfu_host, u64, *mut c_void, u64) -> i32>,
    pub dma_write: Option<unsafe extern "C" fn(*const vfu_host, u64, *const c_void, u64) -> i32>,
    pub dma_submit: Option<unsafe extern "C" fn(*const vfu_host, *mut vfu_dma_op) -> i32>,
    pub dma_map: Option<unsafe extern "C" fn(*const vfu_host, u64, u64, u32, *mut vfu_dma_window) -> i32>,
    pub dma_check: Option<unsafe extern "C" fn(*const vfu_host, *const vfu_dma_window) -> i32>,
    pub dma_unmap: Option<unsafe extern "C" fn(*const vfu_host, *mut vfu_dma_window) -> i32>,
    pub dma_dirty: Option<unsafe extern "C" fn(*const vfu_host, u64, u64) -> i32>,
    pub now: Option<unsafe extern "C" fn(*const vfu_host) -> u64>,
    pub timer_after: Option<unsafe extern "C" fn(*const vfu_host, u64, u64, u32, u64) -> i64>,
    pub timer_cancel: Option<unsafe extern "C" fn(*const vfu_host, i64) -> i32>,
    pub defer: Option<unsafe extern "C" fn(*const vfu_host, Option<unsafe extern "C" fn(*mut c_void)>, *mut c_void) -> i32>,
    pub watch_fd: Option<unsafe extern "C" fn(*const vfu_host, i32, u32, Option<unsafe extern "C" fn(*mut c_void, u32)>, *mut c_void) -> i32>,
    pub unwatch_fd: Option<unsafe extern "C" fn(*const vfu_host, i32) -> i32>,
    pub bar_memory: Option<unsafe extern "C" fn(*const vfu_host, u32) -> *mut c_void>,
    pub poll_every: Option<unsafe extern "C" fn(*const vfu_host, u64) -> i32>,
    pub open: Option<unsafe extern "C" fn(*const vfu_host, *const c_char, *const *const c_char, u32, *mut *mut vfu_inner) -> i32>,
    pub bar_access: Option<unsafe extern "C" fn(*const vfu_host, *mut vfu_access) -> i32>,
    pub irq_level: Option<unsafe extern "C" fn(*const vfu_host, u64) -> i32>,
}
impl vfu_host {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_limits {
    pub struct_size: u32,
    pub reserved: u32,
    pub hook_budget: u64,
    pub memory_limit: u64,
}
impl vfu_limits {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_host_regmap {
    pub struct_size: u32,
    pub reserved: u32,
    pub get: Option<unsafe extern "C" fn(*const vfu_host, u32, u32, u32) -> u64>,
    pub set: Option<unsafe extern "C" fn(*const vfu_host, u32, u32, u32, u64) -> i32>,
}
impl vfu_host_regmap {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_host_config {
    pub struct_size: u32,
    pub reserved: u32,
    pub read: Option<unsafe extern "C" fn(*const vfu_host, u32, u32, *mut c_void) -> i32>,
    pub write: Option<unsafe extern "C" fn(*const vfu_host, u32, u32, *const c_void) -> i32>,
}
impl vfu_host_config {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_region_state {
    pub struct_size: u32,
    pub flags: u32,
    pub size: u64,
    pub address: u64,
}
impl vfu_region_state {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_host_regions {
    pub struct_size: u32,
    pub reserved: u32,
    pub look: Option<unsafe extern "C" fn(*const vfu_host, u32, *mut vfu_region_state) -> i32>,
    pub doorbell: Option<unsafe extern "C" fn(*const vfu_host, u32) -> i32>,
}
impl vfu_host_regions {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_report_item {
    pub key: *const c_char,
    pub r#type: u32,
    pub reserved: u32,
    pub integer: i64,
    pub number: f64,
    pub string: *const c_char,
}
impl vfu_report_item {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_report {
    pub struct_size: u32,
    pub flags: u32,
    pub name: *const c_char,
    pub items: *const vfu_report_item,
    pub nitems: u32,
    pub item_size: u32,
}
impl vfu_report {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_host_report {
    pub struct_size: u32,
    pub reserved: u32,
    pub report: Option<unsafe extern "C" fn(*const vfu_host, *const vfu_report) -> i32>,
}
impl vfu_host_report {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_host_reload {
    pub struct_size: u32,
    pub reserved: u32,
    pub watch: Option<unsafe extern "C" fn(*const vfu_host, *const c_char) -> i32>,
}
impl vfu_host_reload {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_qmp_result {
    pub struct_size: u32,
    pub status: i32,
    pub text: *const c_char,
}
impl vfu_qmp_result {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_qmp_command {
    pub struct_size: u32,
    pub timeout_ms: u32,
    pub address: *const c_char,
    pub command: *const c_char,
    pub arguments: *const c_char,
    pub done: Option<unsafe extern "C" fn(*mut c_void, *const vfu_qmp_result)>,
    pub arg: *mut c_void,
}
impl vfu_qmp_command {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_host_qmp {
    pub struct_size: u32,
    pub reserved: u32,
    pub execute: Option<unsafe extern "C" fn(*const vfu_host, *const vfu_qmp_command) -> i32>,
}
impl vfu_host_qmp {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_stream_spec {
    pub struct_size: u32,
    pub reserved: u32,
    pub spec: *const c_char,
    pub r#fn: Option<unsafe extern "C" fn(*mut c_void, u32)>,
    pub arg: *mut c_void,
}
impl vfu_stream_spec {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_stream_state {
    pub struct_size: u32,
    pub flags: u32,
    pub readable: u64,
    pub room: u64,
}
impl vfu_stream_state {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_host_stream {
    pub struct_size: u32,
    pub reserved: u32,
    pub open: Option<unsafe extern "C" fn(*const vfu_host, *const vfu_stream_spec, *mut *mut vfu_stream) -> i32>,
    pub read: Option<unsafe extern "C" fn(*const vfu_host, *mut vfu_stream, *mut c_void, u64) -> i64>,
    pub write: Option<unsafe extern "C" fn(*const vfu_host, *mut vfu_stream, *const c_void, u64) -> i64>,
    pub look: Option<unsafe extern "C" fn(*const vfu_host, *mut vfu_stream, *mut vfu_stream_state) -> i32>,
    pub send_break: Option<unsafe extern "C" fn(*const vfu_host, *mut vfu_stream) -> i32>,
    pub hang_up: Option<unsafe extern "C" fn(*const vfu_host, *mut vfu_stream) -> i32>,
    pub close: Option<unsafe extern "C" fn(*const vfu_host, *mut vfu_stream) -> i32>,
}
impl vfu_host_stream {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_display_frame {
    pub struct_size: u32,
    pub flags: u32,
    pub format: u32,
    pub width: u32,
    pub height: u32,
    pub bar: u32,
    pub offset: u64,
    pub stride: u64,
    pub memory: *const c_void,
    pub size: u64,
    pub palette: *const u32,
}
impl vfu_display_frame {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_host_display {
    pub struct_size: u32,
    pub reserved: u32,
    pub open: Option<unsafe extern "C" fn(*const vfu_host, *const c_char) -> i32>,
    pub show: Option<unsafe extern "C" fn(*const vfu_host, i32, *const vfu_display_frame) -> i32>,
    pub changed: Option<unsafe extern "C" fn(*const vfu_host, i32, u32, u32, u32, u32) -> i32>,
}
impl vfu_host_display {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct vfu_plugin {
    pub struct_size: u32,
    pub abi_version: u32,
    pub caps: u64,
    pub needs: u64,
    pub name: *const c_char,
    pub version: *const c_char,
    pub summary: *const c_char,
    pub sdk: *const c_char,
    pub params: *const vfu_param,
    pub nparams: u32,
    pub param_size: u32,
    pub describe: Option<unsafe extern "C" fn(*const vfu_host, *const vfu_params, *mut vfu_desc) -> i32>,
    pub create: Option<unsafe extern "C" fn(*const vfu_host, *const vfu_params, *mut *mut c_void) -> i32>,
    pub destroy: Option<unsafe extern "C" fn(*mut c_void)>,
    pub access: Option<unsafe extern "C" fn(*mut c_void, *mut vfu_access) -> i32>,
    pub reset: Option<unsafe extern "C" fn(*mut c_void, u32) -> i32>,
    pub event: Option<unsafe extern "C" fn(*mut c_void, u32, u64)>,
    pub attach: Option<unsafe extern "C" fn(*mut c_void, *const vfu_client)>,
    pub detach: Option<unsafe extern "C" fn(*mut c_void)>,
    pub quiesce: Option<unsafe extern "C" fn(*mut c_void)>,
    pub resume: Option<unsafe extern "C" fn(*mut c_void)>,
    pub power: Option<unsafe extern "C" fn(*mut c_void, u32)>,
    pub extension: Option<unsafe extern "C" fn(*const c_char) -> *const c_void>,
    pub doorbell: Option<unsafe extern "C" fn(*mut c_void, u32, u64)>,
    pub poll: Option<unsafe extern "C" fn(*mut c_void) -> i32>,
    pub intercept: Option<unsafe extern "C" fn(*mut c_void, *mut vfu_access) -> i32>,
    pub irq_level: Option<unsafe extern "C" fn(*mut c_void, u64)>,
}
impl vfu_plugin {
    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };
}

pub const VFU_ABI_MAJOR: u32 = 1;
pub const VFU_ABI_MINOR: u32 = 0;
pub const VFU_ABI_VERSION: u32 = (VFU_ABI_MAJOR << 16) | VFU_ABI_MINOR;
pub const VFU_SDK_VERSION: &[u8] = b"0.1.0\0";
pub const VFU_NONE: u32 = 0xffffffff;
pub const VFU_CAP_DMA: u64 = 1 << 0;
pub const VFU_CAP_DMA_MAP: u64 = 1 << 1;
pub const VFU_CAP_INTX: u64 = 1 << 2;
pub const VFU_CAP_MSI: u64 = 1 << 3;
pub const VFU_CAP_MSIX: u64 = 1 << 4;
pub const VFU_CAP_RESET: u64 = 1 << 5;
pub const VFU_CAP_MMAP: u64 = 1 << 6;
pub const VFU_CAP_DOORBELL: u64 = 1 << 7;
pub const VFU_CAP_MIGRATION: u64 = 1 << 8;
pub const VFU_CAP_TIMERS: u64 = 1 << 9;
pub const VFU_CAP_FD_WATCH: u64 = 1 << 10;
pub const VFU_CAP_POLL: u64 = 1 << 11;
pub const VFU_CAP_THREADS: u64 = 1 << 12;
pub const VFU_CAP_FFI: u64 = 1 << 13;
pub const VFU_CAP_RELOAD: u64 = 1 << 14;
pub const VFU_CAP_CLIENT_FDS: u64 = 1 << 32;
pub const VFU_CAP_CLIENT_TWIN_SOCKET: u64 = 1 << 33;
pub const VFU_CAP_CLIENT_WRITE_MULTI: u64 = 1 << 34;
pub const VFU_REGION_BAR0: u32 = 0;
pub const VFU_REGION_BAR5: u32 = 5;
pub const VFU_REGION_ROM: u32 = 6;
pub const VFU_REGION_CONFIG: u32 = 7;
pub const VFU_ACCESS_INHERIT: u32 = 0;
pub const VFU_ACCESS_RW: u32 = 1;
pub const VFU_ACCESS_RO: u32 = 2;
pub const VFU_ACCESS_WO: u32 = 3;
pub const VFU_ACCESS_W1C: u32 = 4;
pub const VFU_ACCESS_W1S: u32 = 5;
pub const VFU_ACCESS_W1T: u32 = 6;
pub const VFU_ACCESS_W0C: u32 = 7;
pub const VFU_ACCESS_RC: u32 = 8;
pub const VFU_ACCESS_RS: u32 = 9;
pub const VFU_ACCESS_WONCE: u32 = 10;
pub const VFU_ACCESS_RESERVED: u32 = 11;
pub const VFU_ACCESS_UNIMP: u32 = 12;
pub const VFU_REG_HOOK_READ: u32 = 1 << 0;
pub const VFU_REG_HOOK_WRITE: u32 = 1 << 1;
pub const VFU_REG_STICKY: u32 = 1 << 2;
pub const VFU_REG_COMMIT_LAST: u32 = 1 << 3;
pub const VFU_REG_BIG_ENDIAN: u32 = 1 << 4;
pub const VFU_BAR_MEM32: u32 = 0;
pub const VFU_BAR_MEM64: u32 = 1;
pub const VFU_BAR_IO: u32 = 2;
pub const VFU_BAR_PREFETCH: u32 = 1 << 0;
pub const VFU_BAR_RAM: u32 = 1 << 1;
pub const VFU_BAR_MMAP: u32 = 1 << 2;
pub const VFU_BAR_BIG_ENDIAN: u32 = 1 << 3;
pub const VFU_BAR_RAW: u32 = 1 << 4;
pub const VFU_BAR_INTERCEPT: u32 = 1 << 5;
pub const VFU_UNMAPPED_ZEROS: u32 = 0;
pub const VFU_UNMAPPED_ONES: u32 = 1;
pub const VFU_UNMAPPED_ERROR: u32 = 2;
pub const VFU_PCI_EXPRESS: u32 = 1 << 0;
pub const VFU_PCI_FLR: u32 = 1 << 1;
pub const VFU_PCI_PM: u32 = 1 << 2;
pub const VFU_PCI_NO_SOFT_RESET: u32 = 1 << 3;
pub const VFU_PCI_OWN_LEVEL: u32 = 1 << 4;
pub const VFU_DOORBELL_MATCH: u32 = 1 << 0;
pub const VFU_DOORBELL_SHADOW: u32 = 1 << 1;
pub const VFU_DOORBELLS_MAX: u32 = 256;
pub const VFU_PARAM_INT: u32 = 0;
pub const VFU_PARAM_BOOL: u32 = 1;
pub const VFU_PARAM_STRING: u32 = 2;
pub const VFU_PARAM_ENUM: u32 = 3;
pub const VFU_PARAM_NUMBER: u32 = 4;
pub const VFU_PARAM_REQUIRED: u32 = 1 << 0;
pub const VFU_PARAM_HAS_MIN: u32 = 1 << 1;
pub const VFU_PARAM_HAS_MAX: u32 = 1 << 2;
pub const VFU_PARAM_PREFIX: u32 = 1 << 3;
pub const VFU_ACCESS_WRITE: u32 = 1 << 0;
pub const VFU_REPLACE: i32 = 1;
pub const VFU_EXT_REGMAP: &[u8] = b"vfu.regmap/1\0";
pub const VFU_RESET_POWER: u32 = 0;
pub const VFU_RESET_BUS: u32 = 1;
pub const VFU_RESET_FLR: u32 = 2;
pub const VFU_DMA_WRITE: u32 = 1 << 0;
pub const VFU_DMA_PROT_READ: u32 = 1 << 0;
pub const VFU_DMA_PROT_WRITE: u32 = 1 << 1;
pub const VFU_EXT_MIGRATION: &[u8] = b"vfu.migration/1\0";
pub const VFU_EXT_CONFIG: &[u8] = b"vfu.config/1\0";
pub const VFU_EXT_INTROSPECT: &[u8] = b"vfu.introspect/1\0";
pub const VFU_LOG_ERROR: u32 = 0;
pub const VFU_LOG_WARN: u32 = 1;
pub const VFU_LOG_INFO: u32 = 2;
pub const VFU_LOG_DEBUG: u32 = 3;
pub const VFU_IRQ_ERR: u32 = 3;
pub const VFU_IRQ_REQ: u32 = 4;
pub const VFU_FD_READ: u32 = 1 << 0;
pub const VFU_FD_WRITE: u32 = 1 << 1;
pub const VFU_FD_HANGUP: u32 = 1 << 2;
pub const VFU_IRQ_PENDING: i32 = 1;
pub const VFU_EVENT_MAX: u32 = 0xffffff;
pub const VFU_POLL_OFF: u64 = 0;
pub const VFU_POLL_BUSY: u64 = 1;
pub const VFU_EXT_LIMITS: &[u8] = b"vfu.limits/1\0";
pub const VFU_EXT_REGIONS: &[u8] = b"vfu.regions/1\0";
pub const VFU_REGION_DECODED: u32 = 1 << 0;
pub const VFU_REGION_MAPPED: u32 = 1 << 1;
pub const VFU_EXT_REPORT: &[u8] = b"vfu.report/1\0";
pub const VFU_REPORT_FATAL: u32 = 1 << 0;
pub const VFU_REPORT_INTEGER: u32 = 0;
pub const VFU_REPORT_NUMBER: u32 = 1;
pub const VFU_REPORT_BOOLEAN: u32 = 2;
pub const VFU_REPORT_STRING: u32 = 3;
pub const VFU_EXT_RELOAD: &[u8] = b"vfu.reload/1\0";
pub const VFU_EXT_QMP: &[u8] = b"vfu.qmp/1\0";
pub const VFU_EXT_STREAM: &[u8] = b"vfu.stream/1\0";
pub const VFU_STREAM_READABLE: u32 = 1 << 0;
pub const VFU_STREAM_WRITABLE: u32 = 1 << 1;
pub const VFU_STREAM_PEER: u32 = 1 << 2;
pub const VFU_STREAM_CONNECTED: u32 = 1 << 0;
pub const VFU_EXT_DISPLAY: &[u8] = b"vfu.display/1\0";
pub const VFU_DISPLAYS_MAX: u32 = 4;
pub const VFU_DISPLAY_SIDE_MAX: u32 = 8192;
pub const VFU_DISPLAY_XRGB8888: u32 = 0x34325258;
pub const VFU_DISPLAY_XBGR8888: u32 = 0x34324258;
pub const VFU_DISPLAY_RGB888: u32 = 0x34324752;
pub const VFU_DISPLAY_BGR888: u32 = 0x34324742;
pub const VFU_DISPLAY_RGB565: u32 = 0x36314752;
pub const VFU_DISPLAY_XRGB1555: u32 = 0x35315258;
pub const VFU_DISPLAY_C8: u32 = 0x20203843;
pub const VFU_DISPLAY_R8: u32 = 0x20203852;
pub const VFU_DISPLAY_MARKED: u32 = 1 << 0;
pub const VFU_DISPLAY_BIG_ENDIAN: u32 = 1 << 1;
