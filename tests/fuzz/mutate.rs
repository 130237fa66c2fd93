//! How are inputs altered, so that readers meet what nobody would write?

/// Random numbers: SplitMix64 (Steele et al. 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// No input becomes longer than this.
const LONGEST: usize = 1 << 18;

/// Lengths and counts that are often treated wrongly.
const LENGTHS: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 40,
    1 << 62,
    1 << 63,
    u64::MAX,
];

/// Alters `bytes` in one to eight places. `others` are whole inputs to take parts
/// from, `words` are parts of the format.
pub fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], words: &[&[u8]], random: &mut Random) {
    for _ in 0..1 << random.below(4) {
        once(bytes, others, words, random);
        bytes.truncate(LONGEST);
    }
}

fn once(bytes: &mut Vec<u8>, others: &[Vec<u8>], words: &[&[u8]], random: &mut Random) {
    let at = random.below(bytes.len());
    let some = at..(at + 1 + random.below(64)).min(bytes.len());
    match random.below(12) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
        2 => drop(bytes.drain(some.start.min(some.end)..some.end)),
        3 => bytes.truncate(at),
        4 => {
            let part = bytes[some.start.min(some.end)..some.end].to_vec();
            let most = if random.below(50) == 0 { 12 } else { 4 };
            let times = 1 << random.below(most);
            bytes.splice(at..at, part.repeat(times));
        }
        5 | 6 => set_number(bytes, at, random),
        7 => {
            let other = random.pick(others);
            let from = random.below(other.len());
            let to = (from + random.below(256)).min(other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
        8 => {
            let other = random.pick(others);
            let from = random.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        9 => {
            let from = random.below(bytes.len());
            let length = some.len().min(bytes.len() - from);
            let part = bytes[from..from + length].to_vec();
            bytes.splice(some.start.min(some.end)..some.end, part);
        }
        _ if words.is_empty() => bytes.insert(at, random.next() as u8),
        10 => {
            let word = *random.pick(words);
            let end = (at + word.len()).min(bytes.len());
            bytes.splice(at..end, word.iter().copied());
        }
        _ => {
            let word = *random.pick(words);
            bytes.splice(at..at, word.iter().copied());
        }
    }
}

/// Replaces a number of 1, 2, 4 or 8 bytes.
fn set_number(bytes: &mut [u8], at: usize, random: &mut Random) {
    let size = (1 << random.below(4)).min(bytes.len() - at);
    let place = &mut bytes[at..at + size];
    let mut wide = [0; 8];
    wide[..size].copy_from_slice(place);
    let old = u64::from_le_bytes(wide);
    let new = match random.below(3) {
        0 => *random.pick(&LENGTHS),
        1 => old.wrapping_add(random.next() % 5).wrapping_sub(2),
        _ => old.wrapping_mul(1 << random.below(9)),
    };
    place.copy_from_slice(&new.to_le_bytes()[..size]);
}
