// Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), as
// PyTorch defines it, on all parameters at once:
//
//     p ← p · (1 − lr · weight_decay)
//     m ← BETA1 · m + (1 − BETA1) · g
//     v ← BETA2 · v + (1 − BETA2) · g²
//     p ← p − lr · (m / (1 − BETA1ᵗ)) / (√(v / (1 − BETA2ᵗ)) + EPS)

// import flat_index
// import gradient_factor
// import loss_scale_state
// import step

// Vectors of four parameters before this dispatch's range, and the number of them
// with weight decay. Parameters without it come last.
const FIRST: u32 = 0u;
const DECAYED: u32 = 0xffffffffu;
const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
// 1 − BETA1, 1 − BETA2, computed in 64 bits.
const NEW1: f32 = 0.1;
const NEW2: f32 = 0.001;
const EPS: f32 = 1e-8;
// Whether gradients are multiplied by the factor that limits their norm.
const CLIPPED: bool = false;
// Whether gradients are multiplied by a loss scale, so that a step may have to be
// skipped.
const SCALED: bool = false;
const WG: u32 = 64u;
// The flag that a gradient has overflowed, in the loss scale's state.
alias Overflow = u32;

@group(0) @binding(0) var<storage, read_write> params: array<vec4f>;
@group(0) @binding(1) var<storage, read> grads: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> momenta: array<vec4f>;
@group(0) @binding(3) var<storage, read> step: Step;
@group(0) @binding(4) var<storage, read> loss_scale: LossScale;
@group(0) @binding(5) var<storage, read> norm: array<vec2f>; // 1: norm of all gradients, factor
@group(0) @binding(6) var<storage, read_write> squares: array<vec4f>;

// Grid: x, folded into y, over parameters / 4.
@compute @workgroup_size(WG)
fn update(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= arrayLength(&params)) {
        return;
    }
    if (is_skipped()) {
        return;
    }
    let g = gradient_factor() * grads[index];
    let decay = select(0.0, step.weight_decay, FIRST + index < DECAYED);
    let m = BETA1 * momenta[index] + NEW1 * g;
    let v = BETA2 * squares[index] + NEW2 * g * g;
    momenta[index] = m;
    squares[index] = v;
    let p = params[index] * (1.0 - step.lr * decay);
    params[index] = p - step.lr * (m * step.unbias.x) / (sqrt(v * step.unbias.y) + EPS);
}
