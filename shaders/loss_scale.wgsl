// Dynamic loss scaling (Micikevicius et al. 2018, section 3.2), without the host.
// Gradients in 16 bits become zero below 2⁻²⁴ and overflow above 65504. So they
// are computed multiplied by a power of two, as large as they allow. A step whose
// gradients overflow changes nothing but that scale.

// import flat_index
// import loss_scale_state

// The scale doubles after this number of steps without overflow.
const INTERVAL: u32 = 2000u;
// Smallest and largest scale.
const MIN_SCALE: f32 = 0x1p-24;
const MAX_SCALE: f32 = 0x1p24;
const WG: u32 = 64u;

// The flag that a gradient has overflowed, in the loss scale's state.
alias Overflow = atomic<u32>;

@group(0) @binding(0) var<storage, read> grads: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> state: LossScale;

// Whether a gradient is infinite or not a number. Reads its bits: a driver may
// compile arithmetic on the assumption that there are no such values.
// Grid: x, folded into y, over elements / 4.
@compute @workgroup_size(WG)
fn find_overflow(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                 @builtin(local_invocation_id) local: vec3u) {
    let index = flat_index(group, groups, local);
    if (index >= arrayLength(&grads)) {
        return;
    }
    let exponents = bitcast<vec4u>(grads[index]) & vec4u(0x7f800000u);
    if (any(exponents == vec4u(0x7f800000u))) {
        atomicStore(&state.overflow, 1u);
    }
}

// Decides whether the step is skipped, and the scale of the next step.
// Grid: one invocation.
@compute @workgroup_size(1)
fn update() {
    let scale = state.scale;
    state.unscale = 1.0 / scale;
    state.skip = atomicLoad(&state.overflow);
    atomicStore(&state.overflow, 0u);
    if (state.skip != 0u) {
        state.skipped += 1u;
        state.good = 0u;
        state.scale = max(0.5 * scale, MIN_SCALE);
    } else if (state.good + 1u >= INTERVAL) {
        state.good = 0u;
        state.scale = min(2.0 * scale, MAX_SCALE);
    } else {
        state.good += 1u;
    }
}
