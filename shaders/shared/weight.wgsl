// One weight of a convolution, for kernels that pack weights into another
// order. The importing file declares SC, DC and TAPS, and the binding `weights`
// (K, C / GROUPS, KERNEL, KERNEL). EXCHANGED says whether source and destination
// channels are exchanged, as in every input gradient; FLIPPED, whether taps are
// in reverse order: at stride 1 that makes the input gradient an ordinary
// convolution.

// The weight of destination channel k and source channel c of one group; zero
// beyond the last channel of either.
fn weight(channel_group: u32, k: u32, c: u32, tap: u32) -> f32 {
    let place = select(tap, TAPS - 1u - tap, FLIPPED);
    var at = ((channel_group * DC + k) * SC + c) * TAPS + place;
    if (EXCHANGED) { // static
        at = ((channel_group * SC + c) * DC + k) * TAPS + place;
    }
    let exists = k < DC && c < SC;
    return select(0.0, weights[select(0u, at, exists)], exists);
}
