//! How do survival probabilities become part of the weights?
//!
//! Other programs do not scale branches at test time, so a file for them must
//! have the scale in its weights. A branch F that ends with an affine layer is
//! scaled exactly by scaling that layer's parameters: p·(γ·x̂ + β) is
//! (p·γ)·x̂ + p·β. Layers after it must let a positive factor through: ReLU,
//! dropout, pooling.

use crate::graph::{BlockId, Graph, NodeId, Op, ParamId, Route};
use crate::weights::TensorMap;

/// Scales the last affine layer of each branch by the branch's gain in `route`,
/// relative to its gain in the default route. The network with these `tensors`
/// and the default route then computes what it did before with `route`.
///
/// # Errors
/// The name of a block whose branch does not end so that this is exact, and
/// why.
pub fn fold_survival(graph: &Graph, route: &Route, tensors: &mut TensorMap) -> Result<(), String> {
    let mut scaled = Vec::new();
    for (index, block) in graph.blocks.iter().enumerate() {
        let (wanted, own) = (route.gains(BlockId(index)), block.default);
        if wanted == own {
            continue;
        }
        let refuse = |problem: &str| Err(format!("block '{}': {problem}", block.name));
        if wanted.shortcut != own.shortcut {
            return refuse("its shortcut has a gain of its own");
        }
        let gain = wanted.branch / own.branch;
        if !(gain > 0.0 && gain.is_finite()) {
            return refuse("its branch has no gain above 0");
        }
        match last_affine(graph, block.branch) {
            Some(params) => scaled.extend(params.into_iter().map(|id| (id, gain))),
            None => return refuse("its branch does not end with a layer that can take the factor"),
        }
    }
    // Only now, so that a refusal leaves the tensors as they are.
    for (id, gain) in scaled {
        for (name, _) in graph.params[id.0].tensors() {
            let values = tensors.get_mut(&name).into_iter().flat_map(|tensor| &mut tensor.data);
            values.for_each(|value| *value *= gain);
        }
    }
    Ok(())
}

/// The parameters of the affine layer that `node` is, or that only functions
/// follow which let a positive factor through. Nothing else may read a value in
/// between, or the parameters.
fn last_affine(graph: &Graph, mut node: NodeId) -> Option<Vec<ParamId>> {
    let consumers = graph.consumers();
    loop {
        if consumers[node.0].len() != 1 {
            return None;
        }
        let inputs = &graph.node(node).inputs;
        match graph.node(node).op {
            Op::Relu | Op::Dropout { .. } | Op::MaxPool(_) | Op::AvgPool(_) => node = inputs[0],
            Op::BatchNorm | Op::Conv(_) | Op::Linear => {
                let params = inputs.iter().filter(|input| graph.param_of(**input).is_some());
                let is_own = |input: &&NodeId| consumers[input.0].len() == 1;
                return params
                    .map(|input| Some(input).filter(is_own).and_then(|input| graph.param_of(*input)))
                    .collect();
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Draw, Normalization, Source, Split};
    use crate::graph::{Gains, Mode, ResidualBlock, StateId};
    use crate::models::{InputShape, Model, layers};
    use crate::train::{Adapter, Depth, DepthRule, Engine, checkpoint, initialise, open};

    /// The logits of 3 images.
    fn logits(engine: &mut dyn Engine, route: &Route) -> Vec<f32> {
        let draws: Vec<Draw> = (0..3).map(Draw::unchanged).collect();
        engine.logits(Split::Test, &draws, route).unwrap()
    }

    #[test]
    fn folded_weights_compute_what_the_scaled_branches_did() {
        let images = Source::Synthetic { train: 1, test: 3 }.load_test(None, 1).unwrap();
        for name in [
            "resnet8",
            "resnet8:shortcut=C",
            "preact-8",
            "wrn-10-1",
            "plain-8",
            "vgg5-8",
        ] {
            let model: Model = name.parse().unwrap();
            let mut engine = open(&Adapter::Reference, &model, &InputShape::default(), None).unwrap();
            initialise(engine.as_mut(), 3);
            let normalization = Normalization::named("cifar10", 3).unwrap();
            engine.load(Split::Test, &images.images, &normalization).unwrap();
            let graph = engine.graph().clone();
            // Statistics and shifts that do something.
            for (index, state) in graph.states.iter().enumerate() {
                let mean = (0..state.channels).map(|at| 0.02 * (at % 7) as f32 - 0.06);
                let variance = (0..state.channels).map(|at| 0.5 + 0.1 * (at % 5) as f32);
                let values: Vec<f32> = mean.chain(variance).collect();
                engine.set_state(StateId(index), &values);
            }
            let (rule, p_last) = (DepthRule::Linear, 0.4);
            let route = Depth::Stochastic { p_last, rule }.test_route(&graph);
            let scaled = logits(engine.as_mut(), &route);
            let unscaled = logits(engine.as_mut(), &graph.default_route());
            let mut tensors = checkpoint::tensors(engine.as_mut(), false).unwrap();
            fold_survival(&graph, &route, &mut tensors).unwrap();
            checkpoint::set_tensors(engine.as_mut(), &tensors, false, "w".as_ref(), name).unwrap();
            let folded = logits(engine.as_mut(), &graph.default_route());
            let distance = |other: &[f32]| {
                let pairs = scaled.iter().zip(other);
                pairs
                    .map(|(one, other)| f64::from((one - other).abs()))
                    .fold(0.0, f64::max)
            };
            let size = scaled
                .iter()
                .fold(0.0, |most: f64, value| most.max(f64::from(value.abs())));
            assert!(
                distance(&folded) < 2e-6 * size,
                "{name}: off by {} of {size}",
                distance(&folded)
            );
            assert!(distance(&unscaled) > 1e-3 * size, "{name}: the factor has no effect");
        }
    }

    #[test]
    fn what_cannot_be_folded_exactly_is_refused() {
        let mut graph = Graph::new(Mode::Eval);
        let images = graph.images(3, 8, 8);
        let block = ResidualBlock {
            name: "own",
            stage: 1,
            input: images,
            relu: false,
        };
        let x = graph.residual(&block, |g| Ok((g.relu(images), images))).unwrap();
        layers::head(&mut graph, x, 2);
        let mut route = graph.default_route();
        let mut tensors = TensorMap::new();
        assert_eq!(fold_survival(&graph, &route, &mut tensors), Ok(()));
        for (gains, part) in [
            (Gains::both(0.5, 1.0), "does not end with a layer"),
            (Gains::both(0.0, 1.0), "no gain above 0"),
            (Gains::both(1.0, 0.5), "shortcut has a gain"),
        ] {
            route.set(BlockId(0), gains);
            let problem = fold_survival(&graph, &route, &mut tensors).unwrap_err();
            assert!(
                problem.starts_with("block 'own': ") && problem.contains(part),
                "{problem}"
            );
        }
    }
}
