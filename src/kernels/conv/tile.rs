//! How large are the register tiles?
//!
//! On a processor a load costs as much as thirty multiply-adds, so a tile
//! holds a hundred sums and more; on a GPU registers decide how many threads
//! are in flight, so it holds dozens. A tile's body is straight-line code:
//! beyond the processor's instruction cache it gains nothing more, and takes
//! seconds to compile. Where lanes can exchange values, neighbours bring halos
//! and weights, and small tiles do as well as large ones.

use crate::graph::Conv;
use crate::kernels::call::Target;

/// Multiply-adds in the straight-line body of a kernel.
const CPU_BODY: usize = 2304;
const GPU_BODY: usize = 640;
/// No body is larger, whatever a file says: it would compile for minutes.
const LARGEST_BODY: usize = 16_384;
/// The same where tiles share halos: half the instruction cache.
const LANES_BODY: usize = CPU_BODY / 2;
/// Blocks of 4 × 4 pixels and source channels that such a body by Winograd's
/// filtering takes, and those of them for all lanes: their transforms fill three
/// quarters of the first-level data cache.
const WINOGRAD_PATCHES: usize = 32;
const WINOGRAD_PATCHES_OF_LANES: usize = 256;
/// Source channels among them: each has 36 weights that lanes exchange.
const WINOGRAD_SOURCE: usize = 16;
/// Pixels and source channels that such a body takes tap by tap, and those of
/// them for all lanes.
const TURN_SOURCE: usize = 1024;
const TURN_SOURCE_OF_LANES: usize = 8192;
/// Destination channels that either goes through with what it keeps.
const TURN_CHANNELS: usize = 64;
/// Output pixels of such a turn of a weight gradient.
const TURN_PIXELS: usize = 256;
/// Sums that one invocation keeps.
const CPU_SUMS: usize = 512;
const GPU_SUMS: usize = 64;
/// Lanes of a processor's vectors.
pub const CPU_VECTOR: usize = 8;

/// PX × PY pixels × KB output channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Columns.
    pub px: usize,
    /// Rows.
    pub py: usize,
    /// Output channels, a multiple of 4.
    pub kb: usize,
}

/// What a tile covers: the destination of a convolution or of its transpose.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    pub conv: &'a Conv,
    pub transposed: bool,
    /// Channels of one group.
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// The source's plane.
    pub source_height: usize,
    pub source_width: usize,
}

impl Destination<'_> {
    /// A tile begins at a multiple of this many pixels.
    fn unit(&self) -> usize {
        if self.transposed { self.conv.stride } else { 1 }
    }

    /// Taps that one pixel takes at most.
    fn taps(&self) -> usize {
        (self.conv.kernel * self.conv.kernel).div_ceil(self.unit() * self.unit())
    }
}

/// Source pixels that a tile needs: its own, and a halo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    pub left: usize,
    pub right: usize,
    pub inner_x: usize,
    pub inner_y: usize,
}

impl Tile {
    /// The rules' choice for `dest`.
    pub fn choose(dest: &Destination, target: &Target) -> Self {
        let (wide, tall, body, sums) = match target.cpu {
            // As wide as the row, a tile has no halo to load on its sides,
            // and does with half the body.
            true if dest.width <= 16 => (16, 2, CPU_BODY / 2, CPU_SUMS),
            true => (8, 4, CPU_BODY, CPU_SUMS),
            false => (4, 2, GPU_BODY, GPU_SUMS),
        };
        let (px, py) = (fit(dest.width, wide, dest.unit()), fit(dest.height, tall, dest.unit()));
        let budget = (body / dest.taps()).min(sums).max(4 * px * py);
        Tile {
            px,
            py,
            kb: block(dest.channels, budget / (px * py)),
        }
    }

    /// Tiles that may be faster than the rules' choice, the likeliest first.
    pub fn others(dest: &Destination, target: &Target) -> Vec<Self> {
        // On a processor each candidate takes a second to compile: few.
        let (sides, body, sums): (&[[usize; 3]], usize, usize) = if target.cpu {
            let sides: &[[usize; 3]] = match dest.taps() {
                // Of few taps a body is short: only sums make up for loads.
                ..=3 => &[[16, 2, 16], [16, 4, 16], [8, 4, 16], [8, 2, 16], [16, 2, 8]],
                _ => &[[16, 2, 8], [8, 4, 8], [8, 4, 16]],
            };
            (sides, CPU_BODY, 2 * CPU_SUMS)
        } else {
            let sides = &[
                [4, 2, 8],
                [4, 1, 8],
                [4, 4, 4],
                [2, 2, 8],
                [4, 1, 16],
                [8, 1, 8],
                [2, 1, 4],
                [4, 4, 8],
            ];
            (sides, 2 * GPU_BODY, 2 * GPU_SUMS)
        };
        let fitted = sides.iter().map(|&[wide, tall, channels]| Tile {
            px: fit(dest.width, wide, dest.unit()),
            py: fit(dest.height, tall, dest.unit()),
            kb: block(dest.channels, channels),
        });
        let mut tiles: Vec<Tile> = fitted
            .filter(|tile| tile.sums() <= sums && tile.sums() * dest.taps() <= body)
            .collect();
        let mut seen = Vec::new();
        tiles.retain(|tile| {
            let new = !seen.contains(tile);
            seen.push(*tile);
            new
        });
        tiles
    }

    /// Whether this can be a tile of `dest`: files name tiles, too.
    pub fn fits(&self, dest: &Destination) -> bool {
        let aligned = self.px.is_multiple_of(dest.unit()) && self.py.is_multiple_of(dest.unit());
        let small = [self.px, self.py, self.kb].iter().all(|&side| (1..=64).contains(&side));
        small && aligned && self.kb.is_multiple_of(4) && self.sums() * dest.taps() <= LARGEST_BODY
    }

    /// Tiles that share halos within a subgroup, where `dest` has any, each
    /// with the number of source channels that it takes at a time: the rules'
    /// choice, then others that may be faster.
    pub fn of_lanes(dest: &Destination, target: &Target) -> Vec<(Self, usize)> {
        // Neighbours bring the halo, so that small tiles load no more than
        // large ones, and their body stays in the instruction cache. Of a
        // strided convolution each pixel takes four of the source.
        let unit = dest.unit();
        let strided = dest.conv.stride > unit;
        let shapes = match strided {
            true => [(4, 2), (2, 2)],
            false => [(4 * unit, 4), (4 * unit, 2)],
        };
        let of_shape = |(wide, tall): (usize, usize)| {
            let tile = |wide: usize| {
                let px = wide.min(dest.width.next_multiple_of(unit));
                let py = tall.max(unit).min(dest.height.next_multiple_of(unit));
                // Products of one source channel and one channel of the tile.
                let products = (px * py * dest.conv.kernel * dest.conv.kernel).div_ceil(unit * unit);
                let most = (LANES_BODY / products).min(CPU_SUMS / (px * py)).clamp(4, 32);
                let kb = block_of(dest.channels, most, 32);
                (Tile { px, py, kb }, (LANES_BODY / (products * kb)).clamp(1, 8))
            };
            let fitting = [tile(wide), tile(2 * wide)];
            fitting
                .into_iter()
                .find(|(tile, channels)| tile.fits_lanes(dest, *channels, target))
        };
        shapes.into_iter().filter_map(of_shape).collect()
    }

    /// Tiles that share weights within a subgroup and keep pixels of many of the
    /// `source` channels for all destination channels, for a 1×1 kernel, each
    /// with the number of source channels that it takes at a time: the rules'
    /// choice, then others that may be faster where there are few images.
    pub fn of_turns(dest: &Destination, source: usize, target: &Target) -> Vec<(Self, usize)> {
        // Eight source columns are loaded at once.
        let wide = (8 / dest.conv.stride).max(1);
        let sides = [wide, 2 * wide].map(|wide| (wide.min(dest.width), 4.min(dest.height)));
        let most = TURN_SOURCE.min(TURN_SOURCE_OF_LANES / target.subgroup.max(1));
        let at_once = |pixels: usize| (most / pixels).clamp(1, 64);
        let fits = |tile: &Self, channels: usize| tile.fits_turns(dest, channels, target);
        Tile::in_turns(dest.channels, source, sides, at_once, fits)
    }

    /// The same by Winograd's filtering, for a 3×3 kernel at stride 1.
    pub fn of_winograd_lanes(dest: &Destination, source: usize, target: &Target) -> Vec<(Self, usize)> {
        let (width, height) = (dest.width.next_multiple_of(4), dest.height.next_multiple_of(4));
        let (wide, tall) = if width < 8 { (4, 8) } else { (8, 4) };
        let sides = [wide, 2 * wide].map(|wide| (wide.min(width), tall.min(height)));
        let patches = WINOGRAD_PATCHES.min(WINOGRAD_PATCHES_OF_LANES / target.subgroup.max(1));
        let at_once = |pixels: usize| (patches / (pixels / 16)).clamp(1, WINOGRAD_SOURCE);
        let fits = |tile: &Self, channels: usize| tile.fits_winograd_lanes(dest, channels, target);
        Tile::in_turns(dest.channels, source, sides, at_once, fits)
    }

    /// Tiles of the first of `sides` that `fits`, which go through so many of
    /// the `channels` as is good, then through fewer; each with what `at_once`
    /// says of its pixels as even shares of the `source` channels.
    fn in_turns(
        channels: usize,
        source: usize,
        sides: [(usize, usize); 2],
        at_once: impl Fn(usize) -> usize,
        fits: impl Fn(&Self, usize) -> bool,
    ) -> Vec<(Self, usize)> {
        let of_most = |most: usize| {
            let kb = block_of(channels, most, TURN_CHANNELS);
            let tiles = sides.map(|(px, py)| {
                let turns = source.div_ceil(at_once(px * py));
                (Tile { px, py, kb }, source.div_ceil(turns))
            });
            tiles.into_iter().find(|(tile, at_once)| fits(tile, *at_once))
        };
        let mut tiles: Vec<_> = [TURN_CHANNELS, TURN_CHANNELS / 4]
            .into_iter()
            .filter_map(of_most)
            .collect();
        tiles.dedup();
        tiles
    }

    /// Whether this can be a tile of `dest` that shares its halos within a
    /// subgroup, and takes so many source channels at a time.
    pub fn fits_lanes(&self, dest: &Destination, channels: usize, target: &Target) -> bool {
        let body = self.sums().saturating_mul(channels).saturating_mul(dest.taps());
        self.fits(dest) && body <= LARGEST_BODY && self.neighbours_suffice(dest, target)
    }

    /// The same of a 1×1 convolution, of tiles that go through their channels one
    /// by one.
    pub fn fits_turns(&self, dest: &Destination, channels: usize, target: &Target) -> bool {
        let pointwise = dest.conv.kernel == 1 && !dest.transposed;
        pointwise && self.keeps(4 * TURN_SOURCE, dest, channels, target)
    }

    /// The same by Winograd's filtering.
    pub fn fits_winograd_lanes(&self, dest: &Destination, channels: usize, target: &Target) -> bool {
        let blocks = self.px.is_multiple_of(4) && self.py.is_multiple_of(4);
        blocks && self.keeps(64 * WINOGRAD_PATCHES, dest, channels, target)
    }

    /// Whether a tile that goes through its channels one by one keeps no more
    /// than `most` pixels of so many source channels, and has its halos.
    fn keeps(&self, most: usize, dest: &Destination, channels: usize, target: &Target) -> bool {
        let Tile { px, py, kb } = *self;
        let sides = [px, py, channels].iter().all(|side| (1..=64).contains(side));
        let small = sides && px * py * channels <= most && (1..=1 << 16).contains(&kb);
        small && self.neighbours_suffice(dest, target)
    }

    /// Whether lanes of one subgroup have all of each other's halos: a row of
    /// tiles must fit into one, and tiles must reach no farther than the next.
    fn neighbours_suffice(&self, dest: &Destination, target: &Target) -> bool {
        if target.subgroup < 2 {
            return false;
        }
        let reach = self.reach(dest.conv, dest.transposed);
        // Source pixels behind the last tile's own would be lost.
        let covered = |tiles: usize, inner: usize, source: usize| tiles * inner >= source;
        reach.left <= 1
            && reach.right <= 1
            && self.across(dest.width) <= target.subgroup
            && covered(dest.width.div_ceil(self.px), reach.inner_x, dest.source_width)
            && covered(dest.height.div_ceil(self.py), reach.inner_y, dest.source_height)
    }

    /// Lanes along a row of tiles on a plane so wide.
    pub fn across(&self, width: usize) -> usize {
        width.div_ceil(self.px).next_power_of_two()
    }

    /// Whether it consists of blocks of 2 × 2 pixels.
    pub fn is_even(&self) -> bool {
        self.px.is_multiple_of(2) && self.py.is_multiple_of(2)
    }

    fn sums(&self) -> usize {
        self.px * self.py * self.kb
    }

    /// The source pixels that this tile needs.
    pub fn reach(&self, conv: &Conv, transposed: bool) -> Reach {
        let Conv {
            kernel,
            stride,
            padding,
            ..
        } = *conv;
        if !transposed {
            return Reach {
                left: padding,
                right: kernel.saturating_sub(padding + stride),
                inner_x: self.px * stride,
                inner_y: self.py * stride,
            };
        }
        // Tap k of pixel i reads (i + padding − k) / stride.
        let left = (kernel - 1).saturating_sub(padding) / stride;
        let beyond = |pixels: usize| ((pixels - 1 + padding) / stride + 1).saturating_sub(pixels / stride);
        Reach {
            left,
            right: beyond(self.px).max(beyond(self.py)),
            inner_x: self.px / stride,
            inner_y: self.py / stride,
        }
    }
}

/// Channels of a block, of at most `most` and at least four: a number that
/// divides the channels, where there is one, wastes nothing.
fn block(channels: usize, most: usize) -> usize {
    block_of(channels, most, 16)
}

/// `block` with at most `limit` channels.
fn block_of(channels: usize, most: usize, limit: usize) -> usize {
    let most = (most / 4 * 4).clamp(4, limit).min(channels.next_multiple_of(4));
    (1..=most / 4)
        .rev()
        .map(|fours| 4 * fours)
        .find(|kb| channels.is_multiple_of(*kb))
        .unwrap_or(most)
}

/// A tile side of at most `most` (and at least `unit`) for an axis of `size`,
/// a multiple of `unit`: a divisor of the axis where there is a good one, by
/// fours where the axis allows.
fn fit(size: usize, most: usize, unit: usize) -> usize {
    let most = most.max(unit);
    let divisors = (1..=most.min(size))
        .rev()
        .filter(|side| size.is_multiple_of(*side) && side % unit == 0);
    let by_fours = divisors.clone().find(|side| side % 4 == 0);
    let best = by_fours.or_else(|| divisors.clone().next()).unwrap_or(unit);
    // A prime axis: better a tile that hangs over than one of a single pixel.
    if best * 3 < most.min(size) {
        most.min(size).next_multiple_of(unit)
    } else {
        best
    }
}

/// PX × PY output pixels × KB output channels at a time, of CB source channels in
/// each lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChannelTile {
    /// Output columns.
    pub px: usize,
    /// Output rows.
    pub py: usize,
    /// Output channels.
    pub kb: usize,
    /// Source channels of a lane.
    pub cb: usize,
}

impl ChannelTile {
    /// The rules' choice for `c` source and `k` output channels in each group
    /// and planes of `height` × `width` output pixels, then another that may
    /// be faster.
    pub fn choose(conv: &Conv, [c, k]: [usize; 2], (height, width): (usize, usize), target: &Target) -> Vec<Self> {
        let taps = conv.kernel * conv.kernel;
        let wide = (16 / conv.stride).max(1);
        // Where there are few taps, source channels make up for what it costs
        // to load a value of dy and to pass it on.
        let (px, kb, cb) = if taps < 4 {
            let cb = fit(c.div_ceil(target.subgroup.max(1)), 4, 1);
            let kb = fit(k, 32, 1);
            (fit(width, (LANES_BODY / (taps * kb * cb)).clamp(1, wide), 1), kb, cb)
        } else {
            let px = fit(width, wide, 1);
            (px, fit(k, (LANES_BODY / (taps * px)).clamp(1, 32), 1), 1)
        };
        // Rows make up for what a sum costs that a loop carries.
        let py = (LANES_BODY / (taps * px * kb * cb)).clamp(1, 4).min(height);
        let tile = ChannelTile { px, py, kb, cb };
        let halves = ChannelTile {
            px: (px / 2).max(1),
            ..tile
        };
        vec![tile, halves]
    }

    /// Whether this can be a tile of `conv`: files name tiles, too.
    pub fn fits(&self, conv: &Conv, target: &Target) -> bool {
        let ChannelTile { px, py, kb, cb } = *self;
        let small = [px, py, kb, cb].iter().all(|side| (1..=64).contains(side));
        small && target.subgroup > 1 && px * py * kb * cb * conv.kernel * conv.kernel <= LARGEST_BODY
    }
}

/// PX × PY output pixels of several images, in blocks of 4 × 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TurnTile {
    /// Output columns, a multiple of 4.
    pub px: usize,
    /// Output rows, a multiple of 4.
    pub py: usize,
    /// Images.
    pub images: usize,
}

impl TurnTile {
    /// The rules' choice for planes of `height` × `width` output pixels, then
    /// another that may be faster.
    pub fn choose((height, width): (usize, usize)) -> Vec<Self> {
        let (height, width) = (height.next_multiple_of(4), width.next_multiple_of(4));
        let of_columns = |px: usize| {
            let py = (TURN_PIXELS / px / 4 * 4).min(height);
            // Of several tiles on a plane none need be higher than others.
            let py = height.div_ceil(height.div_ceil(py)).next_multiple_of(4);
            let images = (TURN_PIXELS / (px * py)).max(1);
            TurnTile { px, py, images }
        };
        let mut tiles: Vec<_> = (4..=width.min(TURN_PIXELS / 4)).step_by(4).map(of_columns).collect();
        // What lies beyond the plane, or a turn lacks, is work for nothing, and
        // pixels come by eights.
        let waste = |tile: &TurnTile| {
            let TurnTile { px, py, images } = *tile;
            let covered = width.next_multiple_of(px) * height.next_multiple_of(py);
            (covered * TURN_PIXELS / (px * py * images), px % 8)
        };
        // What lies between tiles is loaded twice: rows by eights, columns one
        // by one, which takes as long as five more.
        let loads = |tile: &TurnTile| {
            let (across, down) = (width.div_ceil(tile.px), height.div_ceil(tile.py));
            across * (tile.px + if across > 1 { 5 } else { 0 }) * down * (tile.py + 2)
        };
        tiles.sort_by_key(|tile| (waste(tile), loads(tile)));
        let least = tiles.first().map(waste);
        tiles.retain(|tile| Some(waste(tile)) == least);
        tiles.truncate(2);
        tiles
    }

    /// Whether this can be a tile: files name tiles, too.
    pub fn fits(&self, target: &Target) -> bool {
        let TurnTile { px, py, images } = *self;
        let small = [px, py, images].iter().all(|side| (1..=64).contains(side));
        let of_blocks = px.is_multiple_of(4) && py.is_multiple_of(4);
        small && of_blocks && target.subgroup > 1 && px * py * images <= 4 * TURN_PIXELS
    }
}

/// PX output columns × KB output channels × CB source channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WeightTile {
    /// Output columns.
    pub px: usize,
    /// Output channels.
    pub kb: usize,
    /// Source channels.
    pub cb: usize,
}

impl WeightTile {
    /// The rules' choice for `c` source and `k` output channels in each group
    /// and output rows of `width`.
    pub fn choose(conv: &Conv, c: usize, k: usize, width: usize, target: &Target) -> Self {
        let taps = conv.kernel * conv.kernel;
        let (body, most_px, most_kb, most_cb) = if target.cpu {
            (CPU_BODY / 2, 8, 8, 8)
        } else {
            (GPU_BODY, 4, 4, 2)
        };
        let px = fit(width, most_px, 1);
        let kb = fit(k, most_kb.min((body / (taps * px)).max(1)), 1);
        let cb = fit(c, most_cb.min((body / (taps * px * kb)).max(1)), 1);
        WeightTile { px, kb, cb }
    }

    /// Tiles that may be faster than the rules' choice, the likeliest first.
    pub fn others(conv: &Conv, c: usize, k: usize, width: usize, target: &Target) -> Vec<Self> {
        let taps = conv.kernel * conv.kernel;
        // On a processor each candidate takes a second to compile: few.
        let (sides, body): (&[[usize; 3]], usize) = if target.cpu {
            let sides: &[[usize; 3]] = match taps {
                1 => &[[8, 16, 8], [8, 16, 16], [4, 16, 16]],
                _ => &[[8, 4, 4], [8, 8, 4], [4, 8, 2]],
            };
            (sides, CPU_BODY)
        } else {
            (
                &[[4, 2, 2], [4, 4, 1], [2, 4, 2], [4, 2, 1], [8, 2, 2], [4, 4, 4]],
                2 * GPU_BODY,
            )
        };
        let fitted = sides.iter().map(|&[wide, outputs, sources]| WeightTile {
            px: fit(width, wide, 1),
            kb: fit(k, outputs, 1),
            cb: fit(c, sources, 1),
        });
        let mut tiles: Vec<WeightTile> = fitted.filter(|tile| tile.body(taps) <= body).collect();
        let mut seen = Vec::new();
        tiles.retain(|tile| {
            let new = !seen.contains(tile);
            seen.push(*tile);
            new
        });
        tiles
    }

    /// Whether this can be a tile of `conv`: files name tiles, too.
    pub fn fits(&self, conv: &Conv) -> bool {
        let small = [self.px, self.kb, self.cb].iter().all(|&side| (1..=64).contains(&side));
        small && self.body(conv.kernel * conv.kernel) <= LARGEST_BODY
    }

    fn body(&self, taps: usize) -> usize {
        self.px * self.kb * self.cb * taps
    }

    /// Invocations that the rules want, to keep the device busy.
    pub fn splits(target: &Target) -> usize {
        if target.cpu { 2048 } else { 1 << 16 }
    }

    /// Images that one invocation walks through: few enough to have `wanted`
    /// invocations, enough that the partial sums (`bytes` for each range of
    /// images) stay small. `per_image` is the number of invocations an image.
    /// A processor runs invocations of different images and `strips` in the
    /// lanes of one vector: there are enough of those to fill it.
    pub fn images(batch: usize, strips: usize, per_image: usize, wanted: usize, bytes: u64, target: &Target) -> usize {
        let vectors = if target.cpu { batch * strips / CPU_VECTOR } else { batch };
        let busy = (batch * per_image / wanted).min(vectors);
        busy.max(Self::images_for_room(batch, bytes, target)).clamp(1, batch)
    }

    /// The same where a subgroup is what walks, and its lanes are channels.
    pub fn images_of_subgroup(batch: usize, per_image: usize, wanted: usize, bytes: u64, target: &Target) -> usize {
        let busy = batch * per_image / wanted;
        busy.max(Self::images_for_room(batch, bytes, target)).clamp(1, batch)
    }

    /// Images that share partial sums of `bytes`, so that all are not many.
    fn images_for_room(batch: usize, bytes: u64, target: &Target) -> usize {
        let room = target.binding.min(16 << 20);
        (batch as u64 * bytes).div_ceil(room.max(bytes)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_fit_their_budgets() {
        for cpu in [false, true] {
            for kernel in [1, 3, 5, 7] {
                for stride in [1, 2] {
                    for size in [1, 2, 4, 7, 8, 14, 16, 28, 32, 56, 112] {
                        for channels in [1, 3, 4, 16, 64, 160] {
                            for transposed in [false, true] {
                                let conv = Conv {
                                    kernel,
                                    stride,
                                    padding: kernel / 2,
                                    groups: 1,
                                };
                                let dest = Destination {
                                    conv: &conv,
                                    transposed,
                                    channels,
                                    height: size,
                                    width: size,
                                    source_height: size,
                                    source_width: size,
                                };
                                let tile = Tile::choose(&dest, &Target::portable(cpu));
                                assert!(tile.fits(&dest), "{tile:?}");
                                for other in Tile::others(&dest, &Target::portable(cpu)) {
                                    assert!(other.fits(&dest), "{other:?}");
                                }
                                for (tile, channels) in Tile::of_lanes(&dest, &Target::portable(cpu)) {
                                    assert!(
                                        tile.fits_lanes(&dest, channels, &Target::portable(cpu)) && cpu,
                                        "{tile:?}"
                                    );
                                    let body = tile.sums() * channels * kernel * kernel;
                                    assert!(
                                        body <= LANES_BODY * if transposed { stride * stride } else { 1 },
                                        "{tile:?} of {channels}"
                                    );
                                }
                                let target = Target::portable(cpu);
                                for (tile, at_once) in Tile::of_winograd_lanes(&dest, channels, &target) {
                                    assert!(tile.fits_winograd_lanes(&dest, at_once, &target) && cpu, "{tile:?}");
                                    let patches = tile.px * tile.py / 16;
                                    assert!(patches * at_once <= WINOGRAD_PATCHES, "{tile:?} of {at_once}");
                                    assert!(tile.kb <= TURN_CHANNELS, "{tile:?}");
                                }
                                for (tile, at_once) in Tile::of_turns(&dest, channels, &target) {
                                    assert!(tile.fits_turns(&dest, at_once, &target) && cpu, "{tile:?}");
                                    assert!(tile.px * tile.py * at_once <= TURN_SOURCE, "{tile:?} of {at_once}");
                                    assert!(tile.kb <= TURN_CHANNELS, "{tile:?}");
                                }
                                assert_eq!(tile.kb % 4, 0);
                                if transposed {
                                    assert_eq!((tile.px % stride, tile.py % stride), (0, 0));
                                }
                                let sums = tile.px * tile.py * tile.kb;
                                assert!(sums <= if cpu { 512 } else { 64 }, "{tile:?}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn turns_fill_their_pixels() {
        let target = Target::portable(true);
        for side in [1, 4, 7, 8, 14, 16, 28, 32, 56, 112, 1000] {
            let tiles = TurnTile::choose((side, side));
            assert!(!tiles.is_empty(), "{side}");
            for tile in tiles {
                assert!(tile.fits(&target), "{tile:?}");
                let pixels = tile.px * tile.py * tile.images;
                assert!((TURN_PIXELS / 2..=TURN_PIXELS).contains(&pixels), "{tile:?} of {side}");
            }
        }
        let of = |side: usize| TurnTile::choose((side, side)).remove(0);
        assert_eq!(
            [of(32), of(16), of(8)],
            [(32, 8, 1), (16, 16, 1), (8, 8, 4)].map(|(px, py, images)| TurnTile { px, py, images })
        );
    }
}
