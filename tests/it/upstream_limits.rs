//! Upstreams that are silent, endless or odd.
