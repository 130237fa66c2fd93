// Copies of channels: option-A shortcuts (He et al. 2015), concatenation, slices,
// and their gradients.

// import flat_index

// The narrow tensor has C channels of H × W. The wide tensor has WIDE_C channels
// of OH × OW, of which the C begin at FIRST_CHANNEL.
const C: u32 = 4u;
const H: u32 = 8u;
const W: u32 = 8u;
const WIDE_C: u32 = 8u;
const FIRST_CHANNEL: u32 = 2u;
const OH: u32 = 4u;
const OW: u32 = 4u;
const STRIDE: u32 = 2u;
// Whether a pixel is the mean of a STRIDE × STRIDE window, not its first pixel.
const AVERAGE: bool = false;
const WG: u32 = 64u;
// An element in memory, of x and of y.
alias Stored = f32;
alias Out = f32;

// Side of the window that a pixel depends on.
const WINDOW: u32 = select(1u, STRIDE, AVERAGE);

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read_write> y: array<Out>;

// Narrow to wide: subsampled, with zeros in the other channels.
// Grid: x, folded into y, over the elements of y (N, WIDE_C, OH, OW).
@compute @workgroup_size(WG)
fn pad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
       @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= arrayLength(&y)) {
        return;
    }
    let c = index / (OH * OW) % WIDE_C - FIRST_CHANNEL; // wraps around below zero
    var sum = 0.0;
    if (c < C) {
        let n = index / (OH * OW * WIDE_C);
        let first = ((n * C + c) * H + index / OW % OH * STRIDE) * W + index % OW * STRIDE;
        for (var i = 0u; i < WINDOW; i++) {
            for (var j = 0u; j < WINDOW; j++) {
                sum += f32(x[first + i * W + j]);
            }
        }
    }
    y[index] = Out(sum / f32(WINDOW * WINDOW));
}

// The gradient of `pad`: wide to narrow.
// Grid: x, folded into y, over the elements of y (N, C, H, W).
@compute @workgroup_size(WG)
fn pad_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= arrayLength(&y)) {
        return;
    }
    let iy = index / W % H;
    let ix = index % W;
    let c = index / (H * W) % C;
    let n = index / (H * W * C);
    var value = 0.0;
    if (iy % STRIDE < WINDOW && ix % STRIDE < WINDOW && iy / STRIDE < OH && ix / STRIDE < OW) {
        value = f32(x[((n * WIDE_C + FIRST_CHANNEL + c) * OH + iy / STRIDE) * OW + ix / STRIDE]);
    }
    y[index] = Out(value / f32(WINDOW * WINDOW));
}

// Copies one input of a concatenation to its channels of the wide output.
// Grid: x, folded into y, over the elements of x (N, C, H, W).
@compute @workgroup_size(WG)
fn place(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
         @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    let n = index / (H * W * C);
    if (n >= arrayLength(&y) / (H * W * WIDE_C)) {
        return;
    }
    y[(n * WIDE_C + FIRST_CHANNEL) * (H * W) + index % (H * W * C)] = Out(x[index]);
}
