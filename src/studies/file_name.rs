//! How does a text become a file name?

use sha2::{Digest, Sha256};

use crate::hex::hex;

/// The largest number of characters of a name. File systems allow 255 bytes.
const MOST_CHARACTERS: usize = 120;

/// `text` as a valid file name on every system. A text that is too long is cut
/// and ends with a hash, so that different texts get different names.
pub fn file_name(text: &str) -> String {
    let allowed = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' => c,
        _ => '-',
    };
    let name: String = text.chars().map(allowed).collect();
    if name.len() <= MOST_CHARACTERS {
        return name;
    }
    let hash = Sha256::digest(text.as_bytes());
    format!("{}-{}", &name[..MOST_CHARACTERS], hex(&hash[..6]))
}
