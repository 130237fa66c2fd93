//! Which residual network has layers of these shapes? Blocks, widths and
//! shortcuts follow from the shapes alone, so names can be made canonical without
//! knowing a model.

use std::collections::{BTreeMap, BTreeSet};

use super::layout::{Layer, LayerKind, Layout};

/// A convolution of a branch: the kernel, and the block's width divided by its
/// own.
type BranchConv = (usize, usize);

/// The branches that published networks have.
const BRANCHES: [&[BranchConv]; 2] = [&[(3, 1), (3, 1)], &[(1, 4), (3, 4), (1, 1)]];

/// The layouts of residual networks that could have these layers: post- and
/// pre-activation networks, with blocks of two or three convolutions.
pub(super) fn layouts(layers: &[Layer]) -> Vec<Layout> {
    let mut found = Vec::new();
    for branch in BRANCHES {
        let Some(shape) = Shape::of(layers, branch) else {
            continue;
        };
        found.extend([shape.post_activation(), shape.pre_activation()]);
    }
    found
}

/// The channels of the images that the only convolution reads whose input no
/// other one writes.
pub(super) fn image_channels<'a>(convs: impl Iterator<Item = &'a [usize; 4]> + Clone) -> Option<usize> {
    let written: BTreeSet<usize> = convs.clone().map(|dims| dims[0]).collect();
    let mut stems = convs.map(|dims| dims[1]).filter(|channels| !written.contains(channels));
    stems.next().filter(|_| stems.next().is_none())
}

/// A residual network up to the order of its layers.
struct Shape<'a> {
    branch: &'a [BranchConv],
    stem: [usize; 4],
    head: [usize; 2],
    stages: Vec<Stage>,
}

struct Stage {
    width: usize,
    blocks: usize,
    /// Blocks, counted from the first, whose shortcut is a convolution.
    projections: usize,
}

impl<'a> Shape<'a> {
    fn of(layers: &[Layer], branch: &'a [BranchConv]) -> Option<Self> {
        let mut convs: BTreeMap<[usize; 4], usize> = BTreeMap::new();
        let mut heads = Vec::new();
        for layer in layers {
            match layer.kind {
                LayerKind::Conv(dims) => *convs.entry(dims).or_default() += 1,
                LayerKind::Linear(dims) => heads.push(dims),
                LayerKind::Norm(_) => {}
            }
        }
        let &[head] = &heads[..] else { return None };
        let channels = image_channels(convs.keys())?;
        let stem = *convs.keys().find(|dims| dims[1] == channels)?;
        if convs.remove(&stem)? > 1 {
            return None;
        }
        // A convolution in the middle of a branch, which has as many inputs as
        // outputs, shows a stage's width.
        let (middle, narrowing) = match *branch {
            [_, (_, narrowing), _] => (3, narrowing),
            _ => (3, 1),
        };
        let widths = convs.keys().filter(|dims| dims[0] == dims[1] && dims[2] == middle);
        let widths: BTreeSet<usize> = widths.map(|dims| dims[0] * narrowing).collect();
        let mut before = stem[0];
        let mut stages = Vec::new();
        for width in widths {
            let own = width / narrowing;
            let of_branch = branch.len() - 1;
            let mut blocks = 0;
            let count = |dims: [usize; 4]| convs.get(&dims).copied().unwrap_or(0);
            if branch.len() == 2 {
                let first = if before == width {
                    0
                } else {
                    count([width, before, 3, 3])
                };
                blocks += (first + count([width, width, 3, 3])) / (of_branch + 1);
            } else {
                blocks += count([own, own, 3, 3]);
            }
            // A bottleneck's last convolution has the shape of a projection from
            // as many channels.
            let same = |dims: [usize; 4]| match branch.len() {
                3 if dims == [width, own, 1, 1] => count(dims).saturating_sub(blocks),
                _ => count(dims),
            };
            let entering = same([width, before, 1, 1]);
            let within = if before == width { 0 } else { same([width, width, 1, 1]) };
            stages.push(Stage {
                width,
                blocks,
                projections: entering + within,
            });
            before = width;
        }
        (!stages.is_empty()).then_some(Self {
            branch,
            stem,
            head,
            stages,
        })
    }

    /// Convolution, norm; the shortcut's convolution has a norm, too.
    fn post_activation(&self) -> Layout {
        let mut plan = Plan::default();
        plan.conv("conv1", self.stem);
        plan.norm("bn1", self.stem[0]);
        plan.follows("bn1", "conv1");
        self.blocks(|name, input, stage, projected| {
            let mut channels = input;
            for (number, &(kernel, narrowing)) in (1..).zip(self.branch) {
                let filters = stage.width / narrowing;
                plan.pair(name, number, [filters, channels, kernel, kernel]);
                channels = filters;
            }
            if projected {
                let (conv, norm) = (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
                plan.conv(&conv, [stage.width, input, 1, 1]);
                plan.norm(&norm, stage.width);
                plan.follows(&norm, &conv);
            }
        });
        plan.head(self.head)
    }

    /// Norm, convolution, and a norm before the head; the shortcut's
    /// convolution has no norm.
    fn pre_activation(&self) -> Layout {
        let mut plan = Plan::default();
        plan.conv("conv1", self.stem);
        let mut last = self.stem[0];
        self.blocks(|name, input, stage, projected| {
            let mut channels = input;
            for (number, &(kernel, narrowing)) in (1..).zip(self.branch) {
                let (norm, conv) = (format!("{name}.bn{number}"), format!("{name}.conv{number}"));
                let filters = stage.width / narrowing;
                plan.norm(&norm, channels);
                plan.conv(&conv, [filters, channels, kernel, kernel]);
                if number > 1 {
                    plan.follows(&norm, &format!("{name}.conv{}", number - 1));
                }
                channels = filters;
            }
            if projected {
                plan.conv(&format!("{name}.downsample.0"), [stage.width, input, 1, 1]);
            }
            last = stage.width;
        });
        plan.norm("bn", last);
        plan.head(self.head)
    }

    /// Calls `add` for each block with its name, its channels before, its stage,
    /// and whether its shortcut is a convolution.
    fn blocks(&self, mut add: impl FnMut(&str, usize, &Stage, bool)) {
        let mut input = self.stem[0];
        for (number, stage) in (1..).zip(&self.stages) {
            for block in 0..stage.blocks {
                add(
                    &format!("layer{number}.{block}"),
                    input,
                    stage,
                    block < stage.projections,
                );
                input = stage.width;
            }
        }
    }
}

/// Layers, as they are added.
#[derive(Default)]
struct Plan {
    layers: Vec<Layer>,
    norm_after: BTreeMap<String, String>,
}

impl Plan {
    fn add(&mut self, name: &str, kind: LayerKind) {
        let name = name.to_owned();
        self.layers.push(Layer { name, kind });
    }

    fn conv(&mut self, name: &str, dims: [usize; 4]) {
        self.add(name, LayerKind::Conv(dims));
    }

    fn norm(&mut self, name: &str, channels: usize) {
        self.add(name, LayerKind::Norm(channels));
    }

    fn follows(&mut self, norm: &str, conv: &str) {
        self.norm_after.insert(conv.to_owned(), norm.to_owned());
    }

    fn pair(&mut self, block: &str, number: usize, dims: [usize; 4]) {
        let (conv, norm) = (format!("{block}.conv{number}"), format!("{block}.bn{number}"));
        self.conv(&conv, dims);
        self.norm(&norm, dims[0]);
        self.follows(&norm, &conv);
    }

    fn head(mut self, dims: [usize; 2]) -> Layout {
        self.add("fc", LayerKind::Linear(dims));
        Layout::new(self.layers, self.norm_after)
    }
}
