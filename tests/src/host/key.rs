//! Dotted names of settings, as the host's datastore reads and writes them. Pure.
//!
//! Source: core-kit `sources/api/datastore/src/key.rs`. A segment that holds anything but letters, digits, `_`, `-` and
//! `/` stands in double quotes.

/// The segments of a name, or the host's words about what is wrong with it.
pub fn parse(name: &str) -> Result<Vec<String>, String> {
    segments(name)
        .map_err(|why| format!("Unable to make data key '{name}': Key name '{name}' has invalid format: {why}"))
}

fn segments(name: &str) -> Result<Vec<String>, String> {
    if name.is_empty() {
        return Err("cannot be empty".to_owned());
    }
    let mut segments = vec![String::new()];
    let mut quoted = false;
    for c in name.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => {
                if segments.last().is_some_and(String::is_empty) {
                    return Err("empty key segment".to_owned());
                }
                segments.push(String::new());
            }
            c if plain(c) || (quoted && c == '.') => {
                if let Some(segment) = segments.last_mut() {
                    segment.push(c);
                }
            }
            c => return Err(format!("invalid character in key: '{c}'")),
        }
    }
    if quoted {
        return Err("unbalanced quotes".to_owned());
    }
    if segments.last().is_some_and(String::is_empty) {
        return Err("ends with separator".to_owned());
    }
    Ok(segments)
}

/// A name of these segments.
pub fn join<S: AsRef<str>>(segments: &[S]) -> String {
    let quote = |segment: &S| match segment.as_ref() {
        segment if segment.chars().all(plain) => segment.to_owned(),
        segment => format!("\"{segment}\""),
    };
    segments.iter().map(quote).collect::<Vec<_>>().join(".")
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/')
}
