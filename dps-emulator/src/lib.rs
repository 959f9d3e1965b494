//! dps-emulator
