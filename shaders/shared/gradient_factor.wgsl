// What an update does to gradients before it uses them. The importing file declares
// SCALED, whether gradients are multiplied by a loss scale, and CLIPPED, whether they
// are multiplied by the factor that limits their norm; and the bindings `loss_scale` and
// `norm` (1: norm of all gradients, factor).

// Whether a gradient has overflowed, so that the step changes nothing.
fn is_skipped() -> bool {
    if (SCALED) { // static
        return loss_scale.skip != 0u;
    }
    return false;
}

// The factor of all gradients.
fn gradient_factor() -> f32 {
    var factor = 1.0;
    if (SCALED) { // static
        factor *= loss_scale.unscale;
    }
    if (CLIPPED) { // static
        factor *= norm[0].y;
    }
    return factor;
}
