//! The binary: exit codes, signals, descriptors.
