//! Every decision, pure in values and `now`.
#![no_std]
extern crate alloc;
