// Dropout (Srivastava et al. 2014), and stochastic depth per image ("drop path"),
// where all elements of an image share one draw. No mask is stored: it is drawn
// again wherever it is needed, by Philox4x32-10 (Salmon et al. 2011) from seed,
// step, layer and position in the whole batch. The gradient is the same kernel applied
// to dy.

// import flat_index
// import nan
// import philox
// import step

// Probability of a zero, factor of all other elements, and number of the layer's
// random stream.
const P: f32 = 0.5;
const KEEP_SCALE: f32 = 2.0;
const STREAM: u32 = 0u;
// Purpose of these draws: no two purposes share a draw.
const PURPOSE: u32 = 4u;
// Elements before this dispatch's among those that are computed.
const FIRST: u32 = 0u;
// Elements that share a draw: 1, or all of an image.
const PER_DRAW: u32 = 1u;
// Elements of an image.
const PER_IMAGE: u32 = 4u;
// Whether four elements from a multiple of four on never need more than one block
// of random words.
const ALIGNED: bool = true;
// Whether y is the memory of x.
const IN_PLACE: bool = false;
const WG: u32 = 64u;
// An element in memory.
alias Stored = f32;

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read_write> y: array<Stored>;
@group(0) @binding(2) var<storage, read> step: Step;

// The element of x.
fn input(at: u32) -> f32 {
    if (IN_PLACE) { // static
        return f32(y[at]);
    } else {
        return f32(x[at]);
    }
}

// The block of random words for element `at` of this dispatch, and the word in it. The
// number of the element in the batch may exceed 32 bits where that of the block does not.
fn place_of(at: u32) -> vec2u {
    if (PER_DRAW > 1u) { // static
        let own = step.first_image + (FIRST + at) / PER_DRAW;
        return vec2u(own / 4u, own % 4u);
    } else {
        if (ALIGNED) { // static
            return vec2u(step.first_image * (PER_IMAGE / 4u) + (FIRST + at) / 4u, at % 4u);
        } else {
            let own = step.first_image * PER_IMAGE + FIRST + at;
            return vec2u(own / 4u, own % 4u);
        }
    }
}

// Grid: x, folded into y, over elements / 4: one draw each.
@compute @workgroup_size(WG)
fn dropout(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (4u * index >= arrayLength(&y)) {
        return;
    }
    // A block of random words has four draws: one for each of four elements, or
    // one for all four where these share a draw.
    let draw = philox(vec4u(place_of(4u * index).x, step.number, STREAM, PURPOSE), step.seed);
    for (var i = 0u; i < 4u; i++) { // unroll
        let at = 4u * index + i;
        if (at < arrayLength(&y)) {
            let place = place_of(at);
            var words = draw;
            if (!ALIGNED) { // static
                words = philox(vec4u(place.x, step.number, STREAM, PURPOSE), step.seed);
            }
            let unit = f32(words[place.y] >> 8u) * 0x1p-24;
            let v = input(at);
            // As PyTorch multiplies by a mask, a value that is not finite stays so.
            let dropped = select(0.0, to_nan(v), is_endless(v));
            y[at] = Stored(select(dropped, v * KEEP_SCALE, unit >= P));
        }
    }
}
