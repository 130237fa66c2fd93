// A batch from the resident images: gather by index, crop, flip, normalise.
//
// Images stay on the device as bytes. A draw says which image, how far the
// crop is shifted (PAD, PAD leaves it in place) and whether it is mirrored.
// The crop pads by black pixels, before normalisation, or by reflection
// without repeating the edge.

// import flat_index

const C: u32 = 3u;
const H: u32 = 32u;
const W: u32 = 32u;
const PAD: u32 = 4u;
const REFLECT: bool = false;
// The first image of this part of the set, where it has several.
const FIRST: u32 = 0u;
// Images of the batch before this dispatch's part of it.
const START: u32 = 0u;
const WG: u32 = 64u;
// An element of an image in memory.
alias Stored = f32;

@group(0) @binding(0) var<storage, read> bytes: array<u32>;        // images, C, H, W, four to a word
@group(0) @binding(1) var<storage, read> classes: array<u32>;      // of all images of the set
@group(0) @binding(2) var<storage, read> draws: array<vec2u>;      // N: index; dx, dy, flip in a byte each
@group(0) @binding(3) var<storage, read> scale: array<vec2f>;      // by channel: 1/(255 σ), −mean/σ
@group(0) @binding(4) var<storage, read_write> images: array<Stored>; // N, C, H, W
@group(0) @binding(5) var<storage, read_write> labels: array<u32>;    // N

// The place of padded coordinate `at` on an axis of `size`: outside is `size`.
fn resolve(at: i32, size: i32) -> i32 {
    if (REFLECT) { // static
        // The image repeats, mirrored, with the period of there and back.
        let period = max(2 * (size - 1), 1);
        let forth = abs(at) % period;
        return min(forth, period - forth);
    } else {
        return select(at, size, at < 0);
    }
}

// Grid: x, folded into y, over the elements of `images`.
@compute @workgroup_size(WG)
fn gather(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    // Memory is bound by words: there may be half a word behind the last image.
    if (index / (C * H * W) >= arrayLength(&images) / (C * H * W)) {
        return;
    }
    let n = START + index / (C * H * W);
    let draw = draws[n];
    let place = draw.x - FIRST;
    // Images of another part come from another dispatch.
    if (place >= arrayLength(&bytes) * 4u / (C * H * W)) {
        return;
    }
    let c = index / (H * W) % C;
    let y = index / W % H;
    let x = index % W;
    let across = select(x, W - 1u - x, (draw.y >> 16u) != 0u);
    let iy = resolve(i32(y + ((draw.y >> 8u) & 0xffu)) - i32(PAD), i32(H));
    let ix = resolve(i32(across + (draw.y & 0xffu)) - i32(PAD), i32(W));
    var value = 0u;
    if (iy < i32(H) && ix < i32(W)) {
        let at = ((place * C + c) * H + u32(iy)) * W + u32(ix);
        value = (bytes[at / 4u] >> (at % 4u * 8u)) & 0xffu;
    }
    images[index] = Stored(f32(value) * scale[c].x + scale[c].y);
    if (index % (C * H * W) == 0u) {
        labels[n] = classes[draw.x];
    }
}
