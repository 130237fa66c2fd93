// Comparisons that see NaN on every device. They read bits: a compiler that assumes
// that there is no NaN may drop a comparison of floats that finds one.

fn is_nan(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}

// Whether v is infinite or NaN.
fn is_endless(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7f800000u) == 0x7f800000u;
}

// An integer that is larger where v is. 0 and −0 have the same; NaN has the largest.
fn order_of(v: f32) -> i32 {
    let bits = bitcast<i32>(v);
    let magnitude = bits & 0x7fffffff;
    return select(select(magnitude, -magnitude, bits < 0), 0x7fffffff, is_nan(v));
}

// NaN, made of an infinite number or a NaN.
fn to_nan(v: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(v) | 0x7fc00000u);
}

// max(v, 0), which keeps NaN.
fn at_least_zero(v: f32) -> f32 {
    return select(v, 0.0, order_of(v) < 0);
}
