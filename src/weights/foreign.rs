//! Which other format does a file have, that is not read, and what helps?

use crate::formats::zip::Archive;
use crate::shown::shown;

/// What begins a file, what the file is, and what to do with it.
const BEGINNINGS: [(&[u8], &str); 23] = [
    (
        b"version https://git-lfs.github.com/spec/",
        "a git-lfs pointer, not the file: run `git lfs pull`",
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file: export its weights as safetensors or .npz",
    ),
    (b"\x1f\x8b", "gzip-compressed: unpack it by `gunzip`"),
    (b"BZh", "bzip2-compressed: unpack it by `bunzip2`"),
    (b"\xfd7zXZ\x00", "xz-compressed: unpack it by `unxz`"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed: unpack it by `unzstd`"),
    (b"\x04\x22\x4d\x18", "lz4-compressed: unpack it by `unlz4`"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it"),
    (b"!<arch>\n", "an archive of `ar`: unpack it"),
    (b"\x93NUMPY", "a single NumPy array: save all by numpy.savez"),
    (b"MATLAB 5.0", "a MATLAB file: save its arrays by numpy.savez"),
    (b"GGUF", "a GGUF file of a language model: no network here reads it"),
    (b"PAR1", "a parquet file: it holds data, not weights"),
    (b"%PDF", "a PDF document: give the weights file"),
    (b"\x89PNG\r\n", "a PNG image: give the weights file"),
    (b"\xff\xd8\xff", "a JPEG image: give the weights file"),
    (b"model_checkpoint_path:", TENSORFLOW),
    (b"\x08\x01\x12\x00", TENSORFLOW),
    (b"\x7fELF", "a program: give the weights file"),
    (b"MZ\x90\x00", "a program: give the weights file"),
    (b"#!/", "a script: give the weights file"),
    (b"oid sha256:", "a damaged git-lfs pointer: run `git lfs pull`"),
];

const TENSORFLOW: &str = "a TensorFlow checkpoint: export its variables by numpy.savez";
const HTML: &str = "an HTML page, not weights: download the file itself, by its direct link";
const TAR: &str = "a tar archive: unpack it by `tar -xf`";
/// The last bytes of the index of a TensorFlow checkpoint.
const TABLE_END: &[u8] = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb";

/// What a file is, and what to do, if it is known; `beginning` has its first
/// bytes (512 if there are as many), `end` its last 8.
pub(super) fn recognise(beginning: &[u8], end: &[u8]) -> Option<&'static str> {
    let known = BEGINNINGS.iter().find(|(bytes, _)| beginning.starts_with(bytes));
    if let Some((_, what)) = known {
        return Some(what);
    }
    if end == TABLE_END {
        return Some(TENSORFLOW);
    }
    if beginning.get(257..262) == Some(b"ustar") {
        return Some(TAR);
    }
    if beginning.get(4..8) == Some(b"TFL3") {
        return Some("a TensorFlow Lite model: export the weights that it was made from as .npz");
    }
    let text = String::from_utf8_lossy(beginning).to_ascii_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']);
    if ["<!doctype", "<html", "<head", "<?xml", "<error", "<!--"]
        .iter()
        .any(|tag| text.starts_with(tag))
    {
        return Some(HTML);
    }
    if is_onnx(beginning) {
        return Some("an ONNX model: export the state_dict() of the network that it was made from");
    }
    if text.starts_with(['{', '[']) && !text.contains('\0') {
        return Some("a JSON text: give the weights file, or the index of its shards (*.index.json)");
    }
    if is_msgpack(beginning) {
        return Some("a msgpack file (Flax): save its parameters by numpy.savez or as safetensors");
    }
    None
}

/// A Protocol Buffer whose first field is a small version number, and the second a
/// text (the producer) or the graph.
fn is_onnx(beginning: &[u8]) -> bool {
    let has = |word: &[u8]| beginning.windows(word.len()).any(|bytes| bytes == word);
    match beginning {
        [8, 1..=20, 0x12 | 0x3a | 0x42, rest @ ..] => {
            has(b"onnx")
                || has(b"pytorch")
                || has(b"Conv")
                || has(b"Gemm")
                || rest.first().is_some_and(|&size| size > 0) && has(b"input")
        }
        _ => false,
    }
}

/// A table whose first key is a text.
fn is_msgpack(beginning: &[u8]) -> bool {
    match beginning {
        [0x81..=0x8f, key, ..] => matches!(key, 0xa1..=0xbf | 0xd9),
        [0xde, _, _, key, ..] => matches!(key, 0xa1..=0xbf | 0xd9),
        [0xdf, _, _, _, _, key, ..] => matches!(key, 0xa1..=0xbf | 0xd9),
        _ => false,
    }
}

/// Whether an archive was written by `torch.jit.save`.
pub(super) fn is_torchscript(archive: &Archive) -> bool {
    let is_part = |name: &str| name.ends_with("/constants.pkl") || name.contains("/code/__torch__");
    archive.names().any(is_part)
}

/// What an archive is that was not written by `torch.save` or NumPy, and what to
/// do.
pub(super) fn of_archive(archive: &Archive) -> String {
    if is_torchscript(archive) {
        return "a TorchScript archive: load it by torch.jit.load, and save its state_dict() by torch.save".into();
    }
    let has = |wanted: &str| {
        archive
            .names()
            .any(|name| name == wanted || name.ends_with(&format!("/{wanted}")))
    };
    if has("model.weights.h5") {
        return "a Keras model: export its weights as safetensors or .npz".into();
    }
    if has("saved_model.pb") {
        return "a zip archive of a TensorFlow model: export its variables by numpy.savez".into();
    }
    if has("AndroidManifest.xml") || has("META-INF/MANIFEST.MF") {
        return "a program: give the weights file".into();
    }
    let endings = [
        ".pth",
        ".pt",
        ".th",
        ".bin",
        ".ckpt",
        ".safetensors",
        ".pkl",
        ".npz",
        ".tar",
        ".h5",
        ".onnx",
    ];
    let inner = archive
        .names()
        .filter(|name| endings.iter().any(|ending| name.ends_with(ending)));
    let mut inner = inner.filter(|name| !name.contains("__MACOSX"));
    match (inner.next(), inner.count()) {
        (Some(name), 0) => format!("a zip archive that holds {}: unpack it", shown(name)),
        (Some(name), others) => format!(
            "a zip archive that holds {} and {others} more files: unpack it",
            shown(name)
        ),
        (None, _) => match archive.names().next() {
            Some(name) => format!("a zip archive of other files ({}): give the weights file", shown(name)),
            None => "an empty zip archive: copy or download it again".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_first_bytes() {
        let tar = [&[0; 257][..], b"ustar\x0000"].concat();
        for (beginning, wanted) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid"[..], "git lfs pull"),
            (b"\x89HDF\r\n\x1a\n\0", "HDF5"),
            (b"\x1f\x8b\x08", "gunzip"),
            (&tar, "tar -xf"),
            (b"\n  <!DOCTYPE html>", "HTML"),
            (b"<html>", "HTML"),
            (b"\x08\x07\x12\x07pytorch\x1a\x03", "ONNX"),
            (b"{\"config\": 1}", "JSON"),
            (b"\x81\xa6params\x83", "msgpack"),
            (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
            (b"model_checkpoint_path: \"x\"", "TensorFlow checkpoint"),
        ] {
            let what = recognise(beginning, b"").unwrap_or_else(|| panic!("{beginning:?}"));
            assert!(what.contains(wanted), "{what}");
        }
        assert!(recognise(b"anything", TABLE_END).unwrap().contains("TensorFlow"));
        assert_eq!(recognise(b"\x80\x02}", b""), None);
        assert_eq!(recognise(b"nothing known", b""), None);
    }
}
