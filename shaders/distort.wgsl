// One operation on each image of a batch, as Pillow computes them, in integers: every
// device gives the bytes of `src/data/operation.rs`, which also says what each computes.
//
// An operation is eight numbers. The first is its kind: 0 none, 1 affine, 2 a rectangle
// that is scaled, 3 brightness, 4 colour, 5 sharpness, 6 upper bits, 7 solarise, 8 invert,
// 9 contrast, 10 stretched values, 11 equalised values. The last three read the whole
// image first.

// import grid

// Channels (1 or 3) and plane of an image.
const C: u32 = 3u;
const H: u32 = 32u;
const W: u32 = 32u;
// Which operation of each image this dispatch computes, and how many there are.
const SLOT: u32 = 0u;
const SLOTS: u32 = 1u;
const WG: u32 = 64u;

// For each channel, how often each value occurs, and what it becomes.
var<workgroup> counts: array<atomic<u32>, 768>;
var<workgroup> tables: array<u32, 768>;

@group(0) @binding(0) var<storage, read> source: array<u32>;        // N, H, W: a channel in each byte
@group(0) @binding(1) var<storage, read_write> altered: array<u32>; // N, H, W: a channel in each byte
@group(0) @binding(2) var<storage, read> operations: array<vec4i>;  // N, SLOTS, 2

// The value of channel `c`.
fn channel(pixel: u32, c: u32) -> u32 {
    return (pixel >> (8u * c)) & 0xffu;
}

// The luma of ITU-R 601.
fn grey(pixel: u32) -> u32 {
    if (C == 3u) { // static
        let sum = channel(pixel, 0u) * 19595u + channel(pixel, 1u) * 38470u + channel(pixel, 2u) * 7471u;
        return (sum + 0x8000u) >> 16u;
    } else {
        return channel(pixel, 0u);
    }
}

// The distance of `value` from `plain` times a factor with 20 fractional bits.
fn blend(plain: u32, value: u32, factor: i32) -> u32 {
    let mixed = i32(plain) * 1048576 + factor * (i32(value) - i32(plain)) + 128;
    return u32(clamp(mixed >> 20u, 0, 255));
}

// The pixel of which the affine operation `what`, `more` makes the one at (x, y).
fn affine(first: u32, x: u32, y: u32, what: vec4i, more: vec4i) -> u32 {
    let ix = (what.y * i32(x) + what.z * i32(y) + what.w) >> 16u;
    let iy = (more.x * i32(x) + more.y * i32(y) + more.z) >> 16u;
    if (ix < 0 || iy < 0 || ix >= i32(W) || iy >= i32(H)) {
        return 0u;
    }
    return source[first + u32(iy) * W + u32(ix)];
}

// Two neighbouring pixels that a scaled one is between, and the part of the second one
// with 16 fractional bits: `count` pixels become `all`.
fn taps(at: u32, count: u32, all: u32) -> vec3u {
    let place = i32((2u * at + 1u) * count) - i32(all);
    if (place < 0) {
        return vec3u(0u, 0u, 0u);
    }
    let period = 2u * all;
    let whole = u32(place) / period;
    let rest = u32(place) % period;
    return vec3u(whole, min(whole + 1u, count - 1u), (rest * 65536u + all) / period);
}

fn between(first: u32, second: u32, part: u32) -> u32 {
    return (first * (65536u - part) + second * part + 32768u) >> 16u;
}

// A pixel of the rectangle that `what`, `more` scales to the size of the image.
fn resized(first: u32, x: u32, y: u32, what: vec4i, more: vec4i) -> u32 {
    let across = taps(x, u32(more.x), W);
    let down = taps(y, u32(what.w), H);
    let corner = first + u32(what.y) * W + u32(what.z);
    let upper = vec2u(source[corner + down.x * W + across.x], source[corner + down.x * W + across.y]);
    let lower = vec2u(source[corner + down.y * W + across.x], source[corner + down.y * W + across.y]);
    var word = 0u;
    for (var c = 0u; c < C; c++) {
        let above = between(channel(upper.x, c), channel(upper.y, c), across.z);
        let below = between(channel(lower.x, c), channel(lower.y, c), across.z);
        word |= between(above, below, down.z) << (8u * c);
    }
    return word;
}

// The weighted mean of a pixel and its neighbours; at the edges the pixel itself.
fn smooth_value(first: u32, x: u32, y: u32, c: u32) -> u32 {
    let own = channel(source[first + y * W + x], c);
    if (x == 0u || y == 0u || x + 1u >= W || y + 1u >= H) {
        return own;
    }
    var sum = 4u * own;
    for (var row = y - 1u; row <= y + 1u; row++) {
        for (var column = x - 1u; column <= x + 1u; column++) {
            sum += channel(source[first + row * W + column], c);
        }
    }
    return (2u * sum + 13u) / 26u;
}

// Counts the values of an image: those of its greys, or of each channel.
fn count_values(first: u32, of_greys: bool, local: u32) {
    for (var i = local; i < 768u; i += WG) {
        atomicStore(&counts[i], 0u);
    }
    workgroupBarrier();
    for (var p = local; p < H * W; p += WG) {
        let pixel = source[first + p];
        if (of_greys) {
            atomicAdd(&counts[grey(pixel)], 1u);
        } else {
            for (var c = 0u; c < C; c++) {
                atomicAdd(&counts[256u * c + channel(pixel, c)], 1u);
            }
        }
    }
    workgroupBarrier();
}

// What each value of channel `c` becomes; for contrast, the first entry is the mean grey.
fn make_table(kind: u32, c: u32) {
    var low = 255u;
    var high = 0u;
    var weighted = 0u;
    for (var value = 0u; value < 256u; value++) {
        let count = atomicLoad(&counts[256u * c + value]);
        if (count > 0u) {
            low = min(low, value);
            high = value;
        }
        weighted += value * count;
    }
    let step = (H * W - min(atomicLoad(&counts[256u * c + high]), H * W)) / 255u;
    var sum = step / 2u;
    for (var value = 0u; value < 256u; value++) {
        var new_value = value;
        if (kind == 9u) {
            new_value = (weighted + H * W / 2u) / (H * W);
        } else if (kind == 10u && high > low) {
            new_value = (max(value, low) - low) * 255u / (high - low);
        } else if (kind == 11u && step > 0u) {
            new_value = sum / step;
        }
        tables[256u * c + value] = min(new_value, 255u);
        sum += atomicLoad(&counts[256u * c + value]);
    }
}

// Grid: x, folded into y, one workgroup for each image.
@compute @workgroup_size(WG)
fn distort(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_id) local: vec3u) {
    let image = flat_workgroup_xy(group, groups);
    if (image >= arrayLength(&altered) / (H * W)) {
        return;
    }
    let first = image * H * W;
    let what = operations[2u * (image * SLOTS + SLOT)];
    let more = operations[2u * (image * SLOTS + SLOT) + 1u];
    let kind = u32(what.x);
    if (kind >= 9u) {
        count_values(first, kind == 9u, local.x);
        if (local.x < C) {
            make_table(kind, local.x);
        }
        workgroupBarrier();
    }
    for (var p = local.x; p < H * W; p += WG) {
        let x = p % W;
        let y = p / W;
        var pixel = source[first + p];
        if (kind == 1u) {
            pixel = affine(first, x, y, what, more);
        } else if (kind == 2u) {
            pixel = resized(first, x, y, what, more);
        } else if (kind > 2u) {
            var word = 0u;
            for (var c = 0u; c < C; c++) {
                var value = channel(pixel, c);
                if (kind == 3u) {
                    value = blend(0u, value, what.y);
                } else if (kind == 4u) {
                    value = blend(grey(pixel), value, what.y);
                } else if (kind == 5u) {
                    value = blend(smooth_value(first, x, y, c), value, what.y);
                } else if (kind == 6u) {
                    value &= u32(what.y);
                } else if (kind == 7u) {
                    value = select(value, 255u - value, value >= u32(what.y));
                } else if (kind == 8u) {
                    value = 255u - value;
                } else if (kind == 9u) {
                    value = blend(tables[0], value, what.y);
                } else {
                    value = tables[256u * c + value];
                }
                word |= value << (8u * c);
            }
            pixel = word;
        }
        altered[first + p] = pixel;
    }
}
