#![doc = include_str!("../docs/encoding.md")]

/// The version of the canonical encoding, its first byte.
pub const VERSION: u8 = 1;

pub(super) const NONE: u8 = 0x00;
pub(super) const FALSE: u8 = 0x01;
pub(super) const TRUE: u8 = 0x02;
pub(super) const NATURAL: u8 = 0x03;
pub(super) const NEGATIVE: u8 = 0x04;
pub(super) const BIG_NATURAL: u8 = 0x05;
pub(super) const BIG_NEGATIVE: u8 = 0x06;
pub(super) const TEXT: u8 = 0x07;
pub(super) const BYTES: u8 = 0x08;
pub(super) const LIST: u8 = 0x09;
pub(super) const MAP: u8 = 0x0a;
