// A batch of images: gathered by index, cropped, flipped and normalised; in training
// perhaps with a square cut out (DeVries and Taylor 2017), and mixed with other images
// of the batch in all pixels (Zhang et al. 2018) or in a rectangle (Yun et al. 2019).
//
// Where operations change whole images at random, `stage` crops and flips them first, as
// bytes; `distort.wgsl` changes them there, and `gather` reads the result.
//
// All images stay on the device as bytes. A draw holds the index of the image,
// the shift of the crop (PAD, PAD is no shift) and whether it is mirrored. The
// crop is padded with black pixels, before normalisation, or by reflection
// without repeating the edge.

// import flat_index
// import philox
// import step

// Channels and plane of an image.
const C: u32 = 3u;
const H: u32 = 32u;
const W: u32 = 32u;
// Largest shift of the crop, in pixels, and whether padding reflects the image.
const PAD: u32 = 4u;
const REFLECT: bool = false;
// Images of the set before the part that is bound.
const FIRST: u32 = 0u;
// Images of the batch before this dispatch's part.
const START: u32 = 0u;
// Whether labels are soft targets: two classes and the share of the second.
const SOFT: bool = false;
// Side of the square that is cut out of each image, in pixels; 0 for none.
const CUTOUT: u32 = 0u;
// Purpose of the draws of its place.
const PURPOSE: u32 = 12u;
// Whether this dispatch mixes in the image before each (before the first of the whole
// batch: the last), after others have gathered the images. The draw of the one before
// the first image here follows the others.
const MIXED_IN: bool = false;
// Whether the images of the batch were staged, cropped and flipped.
const STAGED: bool = false;
const WG: u32 = 64u;
// An element of an image in memory.
alias Stored = f32;

@group(0) @binding(0) var<storage, read> bytes: array<u32>;        // images, C, H, W, four to a word
@group(0) @binding(1) var<storage, read> classes: array<u32>;      // of all images of the set
@group(0) @binding(2) var<storage, read> draws: array<vec2u>;      // N, N + 1 where MIXED_IN: index; dx, dy, flip in a byte each
@group(0) @binding(3) var<storage, read> scale: array<vec2f>;      // by channel: 1/(255 σ), −mean/σ
@group(0) @binding(4) var<storage, read_write> images: array<Stored>; // N, C, H, W
@group(0) @binding(5) var<storage, read_write> labels: array<u32>;    // N; N, 3 where SOFT
@group(0) @binding(6) var<storage, read> step: Step;
@group(0) @binding(7) var<storage, read> pixels: array<u32>;        // N, H, W: a channel in each byte
@group(0) @binding(8) var<storage, read_write> staged: array<u32>;  // N, H, W: a channel in each byte

// The coordinate in the image of padded coordinate `at` on an axis of length
// `size`; `size` where it is outside.
fn resolve(at: i32, size: i32) -> i32 {
    if (REFLECT) { // static
        // The image and its mirror image alternate; both together are a period.
        let period = max(2 * (size - 1), 1);
        let forth = abs(at) % period;
        return min(forth, period - forth);
    } else {
        return select(at, size, at < 0);
    }
}

// The byte of channel `c` at row `y` and column `x` of the crop `crop` of the image `place`
// of this part.
fn cropped(place: u32, crop: u32, c: u32, y: u32, x: u32) -> u32 {
    let across = select(x, W - 1u - x, (crop >> 16u) != 0u);
    let iy = resolve(i32(y + ((crop >> 8u) & 0xffu)) - i32(PAD), i32(H));
    let ix = resolve(i32(across + (crop & 0xffu)) - i32(PAD), i32(W));
    var value = 0u;
    if (iy < i32(H) && ix < i32(W)) {
        let at = ((place * C + c) * H + u32(iy)) * W + u32(ix);
        value = (bytes[at / 4u] >> (at % 4u * 8u)) & 0xffu;
    }
    return value;
}

// The images of the batch that are in this part, cropped and flipped.
// Grid: x, folded into y, over the pixels of the batch.
@compute @workgroup_size(WG)
fn stage(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
         @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= arrayLength(&staged)) {
        return;
    }
    let draw = draws[index / (H * W)];
    let place = draw.x - FIRST;
    if (place >= arrayLength(&bytes) * 4u / (C * H * W)) {
        return;
    }
    var word = 0u;
    for (var c = 0u; c < C; c++) {
        word |= cropped(place, draw.y, c, index / W % H, index % W) << (8u * c);
    }
    staged[index] = word;
}

// Grid: x, folded into y, over the elements of `images`.
@compute @workgroup_size(WG)
fn gather(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    // Memory is bound in words: half a word may follow the last image.
    if (index / (C * H * W) >= arrayLength(&images) / (C * H * W)) {
        return;
    }
    let n = START + index / (C * H * W);
    var at_draw = n;
    if (MIXED_IN) { // static
        if (step.mixing == 0u) {
            return;
        }
        at_draw = select(n - 1u, arrayLength(&draws) - 1u, n == 0u);
    }
    let draw = draws[at_draw];
    let c = index / (H * W) % C;
    let y = index / W % H;
    let x = index % W;
    var value = 0u;
    if (STAGED) { // static
        value = (pixels[(at_draw * H + y) * W + x] >> (8u * c)) & 0xffu;
    } else {
        let place = draw.x - FIRST;
        // Another dispatch gathers the images of other parts.
        if (place >= arrayLength(&bytes) * 4u / (C * H * W)) {
            return;
        }
        value = cropped(place, draw.y, c, y, x);
    }
    var pixel = f32(value) * scale[c].x + scale[c].y;
    if (CUTOUT > 0u) { // static
        // A pixel is within the square if its distance from the square's upper left
        // corner is less than the side; it wraps around where it is negative.
        var position = step.first_image + n;
        if (MIXED_IN) { // static
            position = (position + step.batch_images - 1u) % step.batch_images;
        }
        let words = philox(vec4u(0u, step.number, position, PURPOSE), step.seed);
        let top = wide_product(words.x, H).x;
        let left = wide_product(words.y, W).x;
        if (y + CUTOUT / 2u - top < CUTOUT && x + CUTOUT / 2u - left < CUTOUT) {
            pixel = 0.0;
        }
    }
    if (MIXED_IN) { // static
        let own = f32(images[index]);
        if (step.mixing == 1u) {
            pixel = step.keep * own + (1.0 - step.keep) * pixel;
        } else if (x < step.across.x || x >= step.across.y || y < step.down.x || y >= step.down.y) {
            pixel = own;
        }
    }
    images[index] = Stored(pixel);
    if (index % (C * H * W) == 0u) {
        if (SOFT) { // static
            if (MIXED_IN) { // static
                labels[3u * n + 1u] = classes[draw.x];
                labels[3u * n + 2u] = bitcast<u32>(1.0 - step.keep);
            } else {
                labels[3u * n] = classes[draw.x];
                labels[3u * n + 1u] = classes[draw.x];
                labels[3u * n + 2u] = 0u;
            }
        } else {
            labels[n] = classes[draw.x];
        }
    }
}
