// Multiply-adds with one right answer each, by which a device is tested: integers
// modulo 2^32, and floats whose products and sums are exact.

@group(0) @binding(0) var<storage, read> words: array<u32>;         // 3, COUNT
@group(0) @binding(1) var<storage, read_write> results: array<u32>; // 2, COUNT

// Eleven bits of a word: products of two such numbers are exact in f32.
fn small(word: u32) -> f32 {
    return f32(word >> 21u);
}

// Grid: x over COUNT / 64.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let count = arrayLength(&words) / 3u;
    if (id.x >= count) {
        return;
    }
    let a = words[id.x];
    let b = words[id.x + count];
    let c = words[id.x + 2u * count];
    results[id.x] = a * b + c;
    results[id.x + count] = bitcast<u32>(small(a) * small(b) + small(c));
}
