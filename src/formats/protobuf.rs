//! How is a message of Protocol Buffers written as bytes, and taken apart?
//!
//! A field is its number and its type in one integer, then its value. Integers are
//! stored seven bits a byte, the lowest first; messages and texts with their length
//! in front.

/// A message that grows field by field.
#[derive(Debug, Default, Clone)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// An integer; negative ones take ten bytes.
    pub(crate) fn integer(mut self, field: u32, value: i64) -> Self {
        self.number(u64::from(field) << 3);
        self.number(value as u64);
        self
    }

    /// A 32-bit float.
    pub(crate) fn float(mut self, field: u32, value: f32) -> Self {
        self.number(u64::from(field) << 3 | 5);
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A 64-bit float.
    pub(crate) fn double(mut self, field: u32, value: f64) -> Self {
        self.number(u64::from(field) << 3 | 1);
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A list of 64-bit floats.
    pub(crate) fn doubles(self, field: u32, values: &[f64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.bytes(field, &bytes)
    }

    /// A text, or bytes.
    pub(crate) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.number(u64::from(field) << 3 | 2);
        self.number(value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }

    /// A text.
    pub(crate) fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    /// A message within this one.
    pub(crate) fn message(self, field: u32, value: &Message) -> Self {
        self.bytes(field, &value.bytes)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// The last value of the integer `field` of a message; 0 where it has none, as the
/// format says. `None` where `message` is damaged.
pub(crate) fn integer_of(message: &[u8], field: u32) -> Option<i64> {
    let mut rest = message;
    let mut found = 0;
    while !rest.is_empty() {
        let key = number(&mut rest)?;
        match key & 7 {
            0 => {
                let value = number(&mut rest)?;
                if key >> 3 == u64::from(field) {
                    found = value as i64;
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(number(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(found)
}

/// The integer at the beginning of `rest`, which then begins after it.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_stored_seven_bits_a_byte() {
        let message = Message::default().integer(1, 300).integer(16, 1).text(2, "ab").finish();
        assert_eq!(message, [0x08, 0xac, 0x02, 0x80, 0x01, 0x01, 0x12, 0x02, b'a', b'b']);
        assert_eq!(Message::default().integer(1, -1).finish().len(), 11);
        assert_eq!(Message::default().float(2, 1.0).finish(), [0x15, 0, 0, 0x80, 0x3f]);
        assert_eq!(Message::default().double(1, 1.0).finish()[..2], [0x09, 0]);
        assert_eq!(Message::default().doubles(6, &[1.0, 2.0]).finish()[..2], [0x32, 16]);
    }

    #[test]
    fn an_integer_is_found_among_all_kinds_of_fields() {
        let message = Message::default().double(1, 0.5).float(2, 0.5).text(3, "abc");
        let message = message.integer(4, -7).integer(5, 1 << 40).finish();
        assert_eq!(integer_of(&message, 4), Some(-7));
        assert_eq!(integer_of(&message, 5), Some(1 << 40));
        assert_eq!(integer_of(&message, 6), Some(0));
        assert_eq!(integer_of(&[], 1), Some(0));
        for length in 1..message.len() {
            // Cut within a field, it is damaged; between two, it is a shorter message.
            let cut = integer_of(&message[..length], 6);
            assert_eq!(cut.is_some(), [9, 14, 19, 30].contains(&length), "{length}");
        }
        assert_eq!(integer_of(&[0x0b], 1), None, "groups are no longer written");
        assert_eq!(integer_of(&[0x80; 11], 1), None);
    }
}
