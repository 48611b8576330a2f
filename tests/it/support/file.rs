//! A configuration file, as Kubernetes swaps it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file of its own, which is removed with it.
pub(crate) struct File(pub(crate) PathBuf);

impl File {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let file = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        file.write(text);
        file
    }

    /// As `ConfigMap`s do: the new file takes the place of the old one.
    pub(crate) fn write(&self, text: &str) {
        let new = self.0.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &self.0).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
