// A part of a tensor in the arenas of parameters and gradients: `Segment` in
// `src/kernels/segment.rs`.
struct Segment {
    // Vectors of four parameters before it in the dispatch's part of the arenas, and
    // their number.
    first: u32,
    count: u32,
    // First segment of the tensor, and the number of its segments.
    of_tensor: u32,
    parts: u32,
    // 1 if weight decay applies to it.
    decays: u32,
    // 1 if its learning rate follows from its norm.
    adapts: u32,
}
