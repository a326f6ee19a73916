//! Bytes in, values out: parses, builds, lints and verifies certificates; signing and entropy come in through the caller.
