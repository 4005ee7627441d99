// SPDX-License-Identifier: BSD-3-Clause
// layout.rs - the layout of vfu.rs, as header.test prints that of the header. members.rs is made there, a line each.
#[path = "vfu.rs"]
mod vfu;

macro_rules! size {
    ($kind:ident) => {
        println!("SIZE({}, {});", stringify!($kind), std::mem::size_of::<vfu::$kind>())
    };
}

macro_rules! at {
    ($kind:ident, $member:ident, $name:expr) => {{
        let value = vfu::$kind::ZERO;
        let offset = std::ptr::addr_of!(value.$member) as usize - std::ptr::addr_of!(value) as usize;
        println!("AT({}, {}, {}, {});", stringify!($kind), $name, offset, std::mem::size_of_val(&value.$member))
    }};
}

macro_rules! is {
    ($name:ident) => {
        println!("IS({}, {:#x});", stringify!($name), vfu::$name as u64)
    };
}

fn main() {
    include!("members.rs");
}
