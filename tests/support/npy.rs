//! How does a test write bytes as a file of NumPy?

/// A `.npy` file of `bytes`; `shape` as in `4, 32, 32, 3`, or `4,` for one axis.
pub fn npy(shape: &str, bytes: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [&b"\x93NUMPY\x01\x00"[..], &length, header.as_bytes(), bytes].concat()
}
