//! Which ways are there to do a piece of work? A rule knows one that is good
//! everywhere; an adapter and a shape may have a better one, which only
//! timing finds.

use std::fmt;
use std::str::FromStr;

use super::call::{Lowered, Target};
use super::conv::{ChannelTile, GemmTile, Tile, TurnTile, WeightTile};

/// One way to do a piece of work: a kernel and its parameters. Its text, such
/// as `tile 8x4x16 by 32`, is what files of choices hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// One invocation an output (or a channel, of a sum), no tiles: slow, and
    /// too simple to be wrong.
    Plain,
    /// Convolution by register tiles, with workgroups of `lanes`.
    Tile {
        /// Pixels and channels of one invocation.
        tile: Tile,
        /// Invocations a workgroup.
        lanes: usize,
    },
    /// Convolution by register tiles that share their halos and weights within
    /// a subgroup.
    Lanes {
        /// How they go through channels.
        order: Order,
        /// Pixels and channels of one invocation.
        tile: Tile,
        /// Source channels taken at a time.
        channels: usize,
        /// Invocations a workgroup.
        lanes: usize,
    },
    /// A 3×3 convolution at stride 1 by Winograd's minimal filtering, in
    /// register tiles of even sides.
    Winograd {
        /// Pixels and channels of one invocation.
        tile: Tile,
        /// Source channels taken at a time.
        channels: usize,
        /// Invocations a workgroup.
        lanes: usize,
    },
    /// A matrix product by tiles in workgroup memory.
    Gemm {
        /// The tile.
        tile: GemmTile,
        /// Parts of each sum, for a weight gradient: more of them make
        /// more workgroups, and more partial sums.
        splits: usize,
    },
    /// Weight gradient by strips, in about `splits` invocations.
    Strip {
        /// Columns and channels of one invocation.
        tile: WeightTile,
        /// Invocations wanted: more of them keep more partial sums.
        splits: usize,
        /// Invocations a workgroup.
        lanes: usize,
    },
    /// Weight gradient by strips, where each invocation of a subgroup has
    /// source channels of its own, in about `splits` subgroups.
    Channels {
        /// Output pixels and channels at a time, and channels of an invocation.
        tile: ChannelTile,
        /// Subgroups wanted: more of them keep more partial sums.
        splits: usize,
        /// Invocations a workgroup.
        lanes: usize,
    },
    /// The same of a 3×3 convolution at stride 1 by Winograd's minimal
    /// filtering.
    WinogradChannels {
        /// Output pixels and images of a turn.
        tile: TurnTile,
        /// Subgroups wanted.
        splits: usize,
    },
    /// Matrix product by square register tiles.
    Square {
        /// Rows, and columns, of one invocation.
        side: usize,
        /// Invocations a workgroup.
        lanes: usize,
    },
    /// Sum over batch and plane in about `groups` workgroups.
    Chunks {
        /// Workgroups wanted.
        groups: usize,
        /// Invocations a workgroup.
        lanes: usize,
    },
}

/// How tiles that share halos within a subgroup go through channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// Sums of a block of destination channels are carried from one source
    /// channel to the next.
    Sums,
    /// Pixels of many source channels are kept for all destination channels,
    /// of a 1×1 convolution.
    Turns,
    /// So are their transforms by Winograd's minimal filtering, of a 3×3
    /// convolution at stride 1, in tiles of 4×4 pixels or several such.
    Winograd,
}

impl Order {
    /// How the text of a candidate begins.
    fn name(self) -> &'static str {
        match self {
            Order::Sums => "lanes",
            Order::Turns => "turns",
            Order::Winograd => "winograd lanes",
        }
    }
}

/// Work that can be done in several ways.
pub(super) trait Tunable {
    /// The way that the rules choose.
    fn rule(&self, target: &Target) -> Algorithm;

    /// Other ways that may be faster, the likeliest first.
    fn others(&self, target: &Target) -> Vec<Algorithm>;

    /// The dispatches of one way; `None` where it is no way to do this.
    fn lower(&self, candidate: &Algorithm, batch: usize, target: &Target) -> Option<Lowered>;
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Algorithm::Plain => f.write_str("plain"),
            Algorithm::Tile {
                tile: Tile { px, py, kb },
                lanes,
            } => write!(f, "tile {px}x{py}x{kb} by {lanes}"),
            Algorithm::Lanes {
                order,
                tile: Tile { px, py, kb },
                channels,
                lanes,
            } => write!(f, "{} {px}x{py}x{kb} of {channels} by {lanes}", order.name()),
            Algorithm::Winograd {
                tile: Tile { px, py, kb },
                channels,
                lanes,
            } => write!(f, "winograd {px}x{py}x{kb} of {channels} by {lanes}"),
            Algorithm::Gemm {
                tile:
                    GemmTile {
                        rows,
                        channels,
                        depth,
                        sums: (down, across),
                        buffers,
                    },
                splits,
            } => {
                write!(f, "gemm {rows}x{channels}x{depth} of {down}x{across}")?;
                if buffers > 1 {
                    write!(f, " in {buffers} buffers")?;
                }
                if splits > 1 {
                    write!(f, " split {splits}")?;
                }
                Ok(())
            }
            Algorithm::Strip {
                tile: WeightTile { px, kb, cb },
                splits,
                lanes,
            } => write!(f, "strip {px}x{kb}x{cb} in {splits} by {lanes}"),
            Algorithm::Channels {
                tile: ChannelTile { px, py, kb, cb },
                splits,
                lanes,
            } => {
                write!(f, "channels {px}x{py}x{kb}")?;
                if cb > 1 {
                    write!(f, " of {cb}")?;
                }
                write!(f, " in {splits} by {lanes}")
            }
            Algorithm::WinogradChannels {
                tile: TurnTile { px, py, images },
                splits,
            } => write!(f, "winograd channels {px}x{py}x{images} in {splits}"),
            Algorithm::Square { side, lanes } => write!(f, "square {side} by {lanes}"),
            Algorithm::Chunks { groups, lanes } => write!(f, "chunks {groups} by {lanes}"),
        }
    }
}

/// A text that names no kernel of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no kernel of this version")]
pub struct UnknownAlgorithm(pub String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split(' ').collect();
        parse(&words).ok_or_else(|| UnknownAlgorithm(text.chars().take(60).collect()))
    }
}

/// A number from 1 on. Larger ones are no sizes of anything here, and their
/// products would not fit a usize everywhere.
fn number(text: &str) -> Option<usize> {
    let number = text.parse().ok()?;
    (1..=1 << 20).contains(&number).then_some(number)
}

/// As many numbers with an x between them.
fn sides<const N: usize>(text: &str) -> Option<[usize; N]> {
    let sides: Option<Vec<usize>> = text.split('x').map(number).collect();
    sides?.try_into().ok()
}

fn tile(text: &str) -> Option<Tile> {
    let [px, py, kb] = sides(text)?;
    Some(Tile { px, py, kb })
}

fn in_lanes(order: Order, words: &[&str]) -> Option<Algorithm> {
    let [sizes, "of", channels, "by", lanes] = *words else {
        return None;
    };
    Some(Algorithm::Lanes {
        order,
        tile: tile(sizes)?,
        channels: number(channels)?,
        lanes: number(lanes)?,
    })
}

fn parse(words: &[&str]) -> Option<Algorithm> {
    Some(match *words {
        ["plain"] => Algorithm::Plain,
        ["tile", sizes, "by", lanes] => Algorithm::Tile {
            tile: tile(sizes)?,
            lanes: number(lanes)?,
        },
        ["lanes", ref rest @ ..] => in_lanes(Order::Sums, rest)?,
        ["turns", ref rest @ ..] => in_lanes(Order::Turns, rest)?,
        ["winograd", "lanes", ref rest @ ..] => in_lanes(Order::Winograd, rest)?,
        ["winograd", sizes, "of", channels, "by", lanes] => Algorithm::Winograd {
            tile: tile(sizes)?,
            channels: number(channels)?,
            lanes: number(lanes)?,
        },
        ["gemm", tile, "of", sums, ref rest @ ..] => {
            let [rows, channels, depth] = sides(tile)?;
            let [down, across] = sides(sums)?;
            let (buffers, rest) = match rest {
                ["in", buffers, "buffers", rest @ ..] => (number(buffers)?, rest),
                rest => (1, rest),
            };
            let splits = match rest {
                [] => 1,
                ["split", splits] => number(splits)?,
                _ => return None,
            };
            let tile = GemmTile {
                rows,
                channels,
                depth,
                sums: (down, across),
                buffers,
            };
            Algorithm::Gemm { tile, splits }
        }
        ["strip", tile, "in", splits, "by", lanes] => {
            let [px, kb, cb] = sides(tile)?;
            Algorithm::Strip {
                tile: WeightTile { px, kb, cb },
                splits: number(splits)?,
                lanes: number(lanes)?,
            }
        }
        ["channels", tile, ref rest @ ..] => {
            let [px, py, kb] = sides(tile)?;
            let (cb, rest) = match rest {
                ["of", channels, rest @ ..] => (number(channels)?, rest),
                rest => (1, rest),
            };
            let ["in", splits, "by", lanes] = *rest else {
                return None;
            };
            Algorithm::Channels {
                tile: ChannelTile { px, py, kb, cb },
                splits: number(splits)?,
                lanes: number(lanes)?,
            }
        }
        ["winograd", "channels", tile, "in", splits] => {
            let [px, py, images] = sides(tile)?;
            Algorithm::WinogradChannels {
                tile: TurnTile { px, py, images },
                splits: number(splits)?,
            }
        }
        ["square", side, "by", lanes] => Algorithm::Square {
            side: number(side)?,
            lanes: number(lanes)?,
        },
        ["chunks", groups, "by", lanes] => Algorithm::Chunks {
            groups: number(groups)?,
            lanes: number(lanes)?,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let tile = Tile { px: 8, py: 4, kb: 16 };
        let strip = WeightTile { px: 8, kb: 8, cb: 2 };
        let of_channels = ChannelTile {
            px: 8,
            py: 4,
            kb: 16,
            cb: 2,
        };
        let of_turn = TurnTile {
            px: 8,
            py: 8,
            images: 4,
        };
        let gemm = GemmTile {
            rows: 64,
            channels: 32,
            depth: 8,
            sums: (4, 8),
            buffers: 1,
        };
        let twice = GemmTile { buffers: 2, ..gemm };
        let all = [
            Algorithm::Plain,
            Algorithm::Tile { tile, lanes: 32 },
            Algorithm::Gemm { tile: gemm, splits: 1 },
            Algorithm::Gemm { tile: twice, splits: 1 },
            Algorithm::Gemm { tile: gemm, splits: 32 },
            Algorithm::Gemm {
                tile: twice,
                splits: 32,
            },
            Algorithm::Lanes {
                order: Order::Sums,
                tile,
                channels: 2,
                lanes: 32,
            },
            Algorithm::Channels {
                tile: of_channels,
                splits: 256,
                lanes: 32,
            },
            Algorithm::Channels {
                tile: ChannelTile { cb: 1, ..of_channels },
                splits: 256,
                lanes: 32,
            },
            Algorithm::WinogradChannels {
                tile: of_turn,
                splits: 256,
            },
            Algorithm::Lanes {
                order: Order::Turns,
                tile,
                channels: 16,
                lanes: 8,
            },
            Algorithm::Lanes {
                order: Order::Winograd,
                tile,
                channels: 16,
                lanes: 32,
            },
            Algorithm::Winograd {
                tile,
                channels: 2,
                lanes: 32,
            },
            Algorithm::Strip {
                tile: strip,
                splits: 2048,
                lanes: 64,
            },
            Algorithm::Square { side: 4, lanes: 64 },
            Algorithm::Chunks { groups: 64, lanes: 64 },
        ];
        for candidate in all {
            assert_eq!(candidate.to_string().parse(), Ok(candidate));
        }
        assert_eq!(all[1].to_string(), "tile 8x4x16 by 32");
        assert_eq!(all[2].to_string(), "gemm 64x32x8 of 4x8");
        assert_eq!(all[5].to_string(), "gemm 64x32x8 of 4x8 in 2 buffers split 32");
        for text in [
            "",
            "tile",
            "tile 8x4 by 32",
            "tile 8x0x4 by 32",
            "gemm 64x64x8",
            "gemm 64x64x8 of 4x4 in 2",
            "gemm 64x64x8 of 4x4 split 32 in 2 buffers",
            "square -1 by 64",
            "tiles 8x4x16 by 32",
        ] {
            assert!(text.parse::<Algorithm>().is_err(), "{text}");
        }
    }
}
