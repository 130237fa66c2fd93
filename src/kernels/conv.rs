//! Which dispatches make a convolution, forward and backward?

use super::Value;
use super::call::{Arg, Call, Lowered, Operand, Target, fold, parts};
use super::tile::{Tile, WeightTile};
use crate::graph::{Conv, Shape};

const WG: usize = 32;
/// Source channels that the table of places in immediate data can hold.
const PLACES: usize = 15 * 16;

/// One direction of a convolution: planes and channels of what is read and
/// what is written.
struct Direction<'a> {
    conv: Conv,
    source: &'a Shape,
    dest: &'a Shape,
    transposed: bool,
    bias: bool,
}

/// Forward: inputs x, weight and, where `bias`, bias.
pub fn forward(conv: Conv, bias: bool, x: &Shape, y: &Shape, batch: usize, target: &Target) -> Lowered {
    let direction = Direction {
        conv,
        source: x,
        dest: y,
        transposed: false,
        bias,
    };
    tiled(&direction, batch, target)
}

/// Gradient by the input: inputs dy and weight.
pub fn input_gradient(conv: Conv, dy: &Shape, dx: &Shape, batch: usize, target: &Target) -> Lowered {
    let direction = Direction {
        conv,
        source: dy,
        dest: dx,
        transposed: true,
        bias: false,
    };
    tiled(&direction, batch, target)
}

fn tiled(direction: &Direction, batch: usize, target: &Target) -> Lowered {
    let Direction {
        mut conv, source, dest, ..
    } = *direction;
    // At stride 1 the transpose is a convolution by flipped weights: a layer
    // with as many inputs as outputs has one program for both directions.
    let flipped = direction.transposed && conv.stride == 1 && conv.padding < conv.kernel;
    let transposed = direction.transposed && !flipped;
    if flipped {
        conv.padding = conv.kernel - 1 - conv.padding;
    }
    let (sh, sw) = source.plane();
    let (dh, dw) = dest.plane();
    let (sc, dc) = (source.channels() / conv.groups, dest.channels() / conv.groups);
    let tile = Tile::choose(&conv, transposed, dc, dh, dw, target);
    let reach = tile.reach(&conv, transposed);
    let mut constants = vec![
        ("SC", sc.into()),
        ("SH", sh.into()),
        ("SW", sw.into()),
        ("DC", dc.into()),
        ("DH", dh.into()),
        ("DW", dw.into()),
        ("GROUPS", conv.groups.into()),
        ("KERNEL", conv.kernel.into()),
        ("STRIDE", conv.stride.into()),
        ("PADDING", conv.padding.into()),
        ("TRANSPOSED", transposed.into()),
        ("BIAS", direction.bias.into()),
        ("PX", tile.px.into()),
        ("PY", tile.py.into()),
        ("KB", tile.kb.into()),
        ("LEFT", reach.left.into()),
        ("RIGHT", reach.right.into()),
        ("INNER_X", reach.inner_x.into()),
        ("INNER_Y", reach.inner_y.into()),
        (
            "SOURCE4",
            (sw.is_multiple_of(4) && reach.inner_x.is_multiple_of(4)).into(),
        ),
        ("DEST4", (dw.is_multiple_of(4) && tile.px.is_multiple_of(4)).into()),
        ("WG", WG.into()),
    ];
    let blocks = conv.groups * dc.div_ceil(tile.kb);
    let block = sc * conv.kernel * conv.kernel * tile.kb;
    let uniform = target.cpu && 4 * block as u64 <= target.uniform && sc <= PLACES;
    let stride = if uniform {
        block.next_multiple_of(target.alignment as usize / 4)
    } else {
        block
    };
    constants.extend([
        ("UNIFORM", uniform.into()),
        ("BLOCK4", (block / 4).into()),
        ("BLOCK_STRIDE", stride.into()),
    ]);
    let packed = blocks * stride;
    let weights = Shape::fixed(&[conv.groups * dc * sc * conv.kernel * conv.kernel]);
    let mut packing = constants.clone();
    packing.extend([("EXCHANGED", direction.transposed.into()), ("FLIPPED", flipped.into())]);
    let pack = Call::new("conv", "pack", packing)
        .bind(6, Operand::Input(1), weights.bytes(1))
        .bind(7, Operand::Scratch(0), 4 * packed as u64)
        .over(blocks * block, WG, target);

    let mut calls = vec![pack];
    let tiles = dh.div_ceil(tile.py) * dw.div_ceil(tile.px);
    let forward_outputs = if direction.transposed { source } else { dest };
    let per_output = weights.per_image() / forward_outputs.channels();
    for part in parts(batch, &[source, dest], target) {
        let mut call = Call::new("conv", "tile", constants.clone())
            .bind_images(0, Operand::Input(0), source, &part)
            .bind_images(1, Operand::Input(0), source, &part)
            .bind(2, Operand::Scratch(0), 4 * packed as u64)
            .bind(3, Operand::Input(2), 4 * dest.channels() as u64)
            .bind_images(4, Operand::Output, dest, &part)
            .bind_images(5, Operand::Output, dest, &part);
        let [x, z, _] = fold((part.len() * tiles).div_ceil(WG), target.workgroups);
        call.workgroups = [x, blocks as u32, z];
        call.macs = (part.len() * forward_outputs.per_image() * per_output) as u64;
        if uniform {
            let per_channel = block / sc / 4;
            calls.extend((0..blocks).map(|index| one_block(&call, index, blocks, 4 * stride, per_channel)));
        } else {
            calls.push(call);
        }
    }
    Lowered {
        calls,
        scratch: vec![4 * packed as u64],
    }
}

/// `call` for one of `blocks` blocks of channels, whose weights come by way of
/// a uniform buffer: `stride` bytes from block to block, `per_channel` fours
/// for a source channel.
fn one_block(call: &Call, index: usize, blocks: usize, stride: usize, per_channel: usize) -> Call {
    let mut call = call.clone();
    let bytes = call.variant.constants.iter().find(|(name, _)| *name == "BLOCK4");
    let Some((_, Value::Uint(fours))) = bytes else {
        unreachable!("the size of a block is one of the tile's constants");
    };
    call.args.push(Arg {
        binding: 8,
        operand: Operand::Scratch(0),
        offset: (index * stride) as u64,
        size: 16 * u64::from(*fours),
    });
    let low = (0..16).map(|c| c * per_channel);
    let high = (0..15).map(|c| 16 * c * per_channel);
    call.immediates = low.chain(high).chain([index]).map(|place| place as u32).collect();
    call.workgroups[1] = 1;
    call.macs /= blocks as u64;
    call
}

/// Gradient by the weights: inputs x and dy.
pub fn weight_gradient(conv: Conv, x: &Shape, dy: &Shape, dw: &Shape, batch: usize, target: &Target) -> Lowered {
    let (h, w) = x.plane();
    let (oh, ow) = dy.plane();
    let (c, k) = (x.channels() / conv.groups, dy.channels() / conv.groups);
    let tile = WeightTile::choose(&conv, c, k, ow, target);
    let strips = ow.div_ceil(tile.px);
    let blocks = conv.groups * k.div_ceil(tile.kb) * c.div_ceil(tile.cb);
    let images = tile.images(batch, strips * blocks, dw.bytes(1) * strips as u64, target);
    let right = (conv.kernel).saturating_sub(conv.padding + conv.stride);

    let parts = parts(batch, &[x, dy], target);
    let splits = |part: &std::ops::Range<usize>| part.len().div_ceil(images) * strips;
    let all_splits: usize = parts.iter().map(splits).sum();
    let partial = all_splits as u64 * dw.bytes(1);
    let mut calls = Vec::new();
    let mut first_split = 0;
    for part in parts {
        let constants = vec![
            ("C", c.into()),
            ("H", h.into()),
            ("W", w.into()),
            ("K", k.into()),
            ("OH", oh.into()),
            ("OW", ow.into()),
            ("GROUPS", conv.groups.into()),
            ("KERNEL", conv.kernel.into()),
            ("STRIDE", conv.stride.into()),
            ("PADDING", conv.padding.into()),
            ("PX", tile.px.into()),
            ("KB", tile.kb.into()),
            ("CB", tile.cb.into()),
            ("RIGHT", right.into()),
            ("IMAGES", images.into()),
            ("FIRST_SPLIT", first_split.into()),
            (
                "X4",
                (w.is_multiple_of(4) && (tile.px * conv.stride).is_multiple_of(4)).into(),
            ),
            ("DY4", (ow.is_multiple_of(4) && tile.px.is_multiple_of(4)).into()),
            ("WG", WG.into()),
        ];
        let mut call = Call::new("conv_weights", "weight_grad", constants)
            .bind_images(0, Operand::Input(0), x, &part)
            .bind_images(1, Operand::Input(0), x, &part)
            .bind_images(2, Operand::Input(1), dy, &part)
            .bind_images(3, Operand::Input(1), dy, &part)
            .bind(4, Operand::Scratch(0), partial);
        let [y, z, _] = fold(blocks, target.workgroups);
        call.workgroups = [splits(&part).div_ceil(WG) as u32, y, z];
        call.macs = (dw.per_image() * oh * ow * part.len()) as u64;
        first_split += splits(&part);
        calls.push(call);
    }
    calls.push(
        Call::new("reduce", "rows", vec![("WG", 64u32.into())])
            .bind(0, Operand::Scratch(0), partial)
            .bind(1, Operand::Output, dw.bytes(1))
            .over(dw.per_image(), 64, target),
    );
    Lowered {
        calls,
        scratch: vec![partial],
    }
}
