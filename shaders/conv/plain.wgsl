// Convolution without tiles, forward and backward, by the definition: one
// invocation per result. The tuner compares faster kernels with these before it
// chooses one, and they are the fallback that works for every shape.

// import flat_index

// One group's channels, and the planes.
const C: u32 = 4u;
const H: u32 = 8u;
const W: u32 = 8u;
const K: u32 = 4u;
const OH: u32 = 8u;
const OW: u32 = 8u;
const GROUPS: u32 = 1u;
const KERNEL: u32 = 3u;
const STRIDE: u32 = 1u;
const PADDING: u32 = 1u;
const BIAS: bool = false;
// For the weight gradient: the number of splits before this dispatch's.
const FIRST_SPLIT: u32 = 0u;
const WG: u32 = 64u;
// An element of x and dy in memory, and one of what is written.
alias Stored = f32;
alias Out = f32;

const TAPS: u32 = KERNEL * KERNEL;

@group(0) @binding(0) var<storage, read> x: array<Stored>;     // N, GROUPS·C, H, W
@group(0) @binding(1) var<storage, read> weights: array<f32>;  // GROUPS·K, C, KERNEL, KERNEL
@group(0) @binding(2) var<storage, read> dy: array<Stored>;    // N, GROUPS·K, OH, OW
@group(0) @binding(3) var<storage, read> bias: array<f32>;     // GROUPS·K
@group(0) @binding(4) var<storage, read_write> out: array<Out>;

// y[n, k, oy, ox] = Σ x[n, c, oy·S + ky − P, ox·S + kx − P] · w[k, c, ky, kx]
// Grid: x, folded into y, over the elements of y.
@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= arrayLength(&out)) {
        return;
    }
    let ox = index % OW;
    let oy = index / OW % OH;
    let k = index / (OW * OH) % (GROUPS * K);
    let n = index / (OW * OH * GROUPS * K);
    var sum = 0.0;
    if (BIAS) { // static
        sum = bias[k];
    }
    for (var c = 0u; c < C; c++) {
        let plane = (n * GROUPS * C + k / K * C + c) * (H * W);
        for (var ky = 0u; ky < KERNEL; ky++) {
            for (var kx = 0u; kx < KERNEL; kx++) {
                // A coordinate below zero wraps around to a large number: one
                // comparison finds both ends.
                let iy = oy * STRIDE + ky - PADDING;
                let ix = ox * STRIDE + kx - PADDING;
                if (iy < H && ix < W) {
                    sum += f32(x[plane + iy * W + ix]) * weights[(k * C + c) * TAPS + ky * KERNEL + kx];
                }
            }
        }
    }
    out[index] = Out(sum);
}

// dx[n, c, iy, ix] = Σ dy[n, k, (iy + P − ky) / S, (ix + P − kx) / S] · w[k, c, ky, kx]
// where both divide. Grid: as `forward`, over the elements of dx.
@compute @workgroup_size(WG)
fn input_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
              @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= arrayLength(&out)) {
        return;
    }
    let ix = index % W;
    let iy = index / W % H;
    let channel = index / (W * H) % (GROUPS * C);
    let n = index / (W * H * GROUPS * C);
    let first = channel / C * K;
    var sum = 0.0;
    for (var k = first; k < first + K; k++) {
        let plane = (n * GROUPS * K + k) * (OH * OW);
        for (var ky = 0u; ky < KERNEL; ky++) {
            for (var kx = 0u; kx < KERNEL; kx++) {
                let ty = iy + PADDING - ky;
                let tx = ix + PADDING - kx;
                if (ty % STRIDE == 0u && tx % STRIDE == 0u && iy + PADDING >= ky && ix + PADDING >= kx
                    && ty / STRIDE < OH && tx / STRIDE < OW) {
                    sum += f32(dy[plane + ty / STRIDE * OW + tx / STRIDE])
                        * weights[(k * C + channel % C) * TAPS + ky * KERNEL + kx];
                }
            }
        }
    }
    out[index] = Out(sum);
}

// dw[k, c, ky, kx] = Σ dy[n, k, oy, ox] · x[n, c, oy·S + ky − P, ox·S + kx − P]
// Grid: as `forward`, over the weights. Each image is summed on its own first, so
// that rounding errors do not grow with all pixels of the batch.
@compute @workgroup_size(WG)
fn weight_gradient(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
               @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= GROUPS * K * C * TAPS) {
        return;
    }
    let kx = index % KERNEL;
    let ky = index / KERNEL % KERNEL;
    let c = index / TAPS % C;
    let k = index / (TAPS * C);
    let batch = arrayLength(&dy) / (GROUPS * K * OH * OW);
    var sum = 0.0;
    for (var n = 0u; n < batch; n++) {
        let source = (n * GROUPS * C + k / K * C + c) * (H * W);
        let gradient = (n * GROUPS * K + k) * (OH * OW);
        var image = 0.0;
        for (var oy = 0u; oy < OH; oy++) {
            let iy = oy * STRIDE + ky - PADDING;
            if (iy < H) {
                for (var ox = 0u; ox < OW; ox++) {
                    let ix = ox * STRIDE + kx - PADDING;
                    if (ix < W) {
                        image += f32(dy[gradient + oy * OW + ox]) * f32(x[source + iy * W + ix]);
                    }
                }
            }
        }
        sum += image;
    }
    out[FIRST_SPLIT * (GROUPS * K * C * TAPS) + index] = Out(sum);
}
