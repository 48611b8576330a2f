//! The `.env` file of the working directory, whose variables the environment goes before.

use std::{cell::Cell, fs, io, path::Path};

/// Largest file, in bytes: each variable costs a search of the environment.
const MAX_BYTES: usize = 64 << 10;

/// The file's text, read line by line, so that it is known how many lines dotenvy has read.
struct Lines<'a> {
    rest: &'a [u8],
    n_read: &'a Cell<usize>,
}

/// Sets the variables that the environment lacks. A missing file is no fault; one that cannot be read is.
///
/// # Errors
///
/// Why the file cannot be read, without its text, which may hold a key.
pub(super) fn load(path: &Path) -> Result<(), String> {
    let loaded = match fs::read_to_string(path) {
        Ok(text) => parse(&text, |variables| variables.load()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    loaded.map_err(|fault| format!("{}: {fault}", path.display()))
}

/// Parses the text, and has its variables taken.
fn parse<T>(
    text: &str,
    take: impl FnOnce(dotenvy::Iter<Lines<'_>>) -> dotenvy::Result<T>,
) -> Result<T, String> {
    if text.len() > MAX_BYTES || text.contains('\0') {
        return Err("larger than 64 KiB, or contains a NUL character".to_owned());
    }
    let (rest, n_read) = (text.as_bytes(), &Cell::new(0));
    take(dotenvy::from_read_iter(Lines { rest, n_read })).map_err(|error| match error {
        // What is left of the entry, which has several lines where a value in quotes has.
        dotenvy::Error::LineParse(entry, _position) => {
            let line = (n_read.get() + 1).saturating_sub(entry.lines().count());
            format!("line {line} is not NAME=value")
        }
        dotenvy::Error::Io(_) | dotenvy::Error::EnvVar(_) | _ => "cannot be read".to_owned(),
    })
}

// === impl Lines ===

impl io::Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut lines = self.rest.split_inclusive(|byte| *byte == b'\n');
        let mut line = lines.next().unwrap_or_default();
        let read = line.read(buffer)?;
        let is_whole = read > 0 && line.is_empty();
        self.n_read.set(self.n_read.get() + usize::from(is_whole));
        (_, self.rest) = self.rest.split_at(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(text: &str) -> Result<Vec<(String, String)>, String> {
        parse(text, |variables| variables.collect())
    }

    #[test]
    fn variables_are_read_as_a_shell_reads_them() {
        let text = "# a comment\nA=1\nexport B='2 3'\n\nC=\"4\n5\"\r\nD=";
        let read = variables(text).unwrap();
        let read: Vec<_> = read
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(read, [("A", "1"), ("B", "2 3"), ("C", "4\n5"), ("D", "")]);
    }

    #[test]
    fn a_fault_names_its_line_and_not_its_text() {
        let many = "A=1\n".repeat(10_000) + "OPENAI_API_KEY=can ary\n";
        for (text, line) in [
            ("OPENAI_API_KEY='canary", 1),
            ("OPENAI_API_KEY='canary\n", 1),
            (
                "A=1\n# a comment\n\nB='2'\nOPENAI_API_KEY=can ary\nC=3\n",
                5,
            ),
            ("A=\"1\n2\"\nOPENAI_API_KEY='canary\nB=2\n", 3),
            ("A='1'\r\nno assignment\r\n", 2),
            ("A=1\nno assignment", 2),
            ("# A B\nAA=A B=\nA B # A B", 2),
            ("# A B\nA B C=1\nA B", 2),
            ("# A B\nC='A B'\nA B # A B", 3),
            (&many, 10_001),
        ] {
            let fault = variables(text).unwrap_err();
            assert!(fault.contains(&format!("line {line} ")), "{text}: {fault}");
            assert!(!fault.contains("ary"), "{fault}");
        }
    }

    #[test]
    fn what_no_environment_can_hold_is_refused() {
        assert!(variables("A=\0\n").unwrap_err().contains("NUL"));
        let large = "A=1\n".repeat(20_000);
        assert!(variables(&large).unwrap_err().contains("64 KiB"));
    }

    #[test]
    fn a_missing_file_is_no_fault() {
        assert_eq!(load(Path::new("/no/such/.env")), Ok(()));
        let fault = load(Path::new("/proc")).unwrap_err();
        assert!(fault.starts_with("/proc: "), "{fault}");
    }
}
