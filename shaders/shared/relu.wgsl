// The ReLU and the mask of its gradient, which keep NaN as PyTorch does. Both read
// bits: a compiler that assumes that there is no NaN may turn `max` and every
// comparison of floats into one that loses it. The importing file declares V, what
// an invocation computes at once.

// The bits of V.
alias Bits = vec4i;

// max(v, 0). As integers, the bits of the numbers from −0 to −∞ are those up to
// that of −∞: above it are the NaNs with a sign, then what is not negative.
fn relu_of(v: V) -> V {
    let bits = bitcast<Bits>(v);
    return bitcast<V>(select(bits, Bits(), bits <= Bits(-0x800000)));
}

// g where the ReLU of v is not zero: where v is positive or NaN.
fn where_active(g: V, v: V) -> V {
    let bits = bitcast<Bits>(v);
    return select(g, V(), (bits <= Bits(-0x800000)) | (bits == Bits()));
}
