// Eight values by one load, on processors whose driver has 64-bit integers:
// there a load costs by instruction and lane, not by byte.

// The eight values of four 64-bit integers.
fn load8(v: vec4<u64>) -> array<vec4f, 2> {
    return array<vec4f, 2>(
        bitcast<vec4f>(vec4u(u32(v.x), u32(v.x >> 32u), u32(v.y), u32(v.y >> 32u))),
        bitcast<vec4f>(vec4u(u32(v.z), u32(v.z >> 32u), u32(v.w), u32(v.w >> 32u))));
}
