//! Which tensors of a file are not weights of their own, and what becomes of
//! them? Counters are left out; masks, norms of weights and biases before a batch
//! norm become part of the weights that they act on.

use std::collections::BTreeMap;

use super::dialect::split;
use super::layout::Layout;
use super::{Tensor, TensorMap, WeightsError};

/// Last parts of names of tensors that no evaluation reads: PyTorch's counter
/// of batches, and what the package thop counts.
const COUNTERS: [&str; 3] = ["num_batches_tracked", "total_ops", "total_params"];

/// Names of the mean and the standard deviation of images in networks that
/// normalise their images themselves.
const NORMALIZERS: [[&str; 2]; 3] = [["mu", "sigma"], ["mean", "std"], ["normalize.mean", "normalize.std"]];

/// Removes the counters; returns a note where a reader would not expect them.
pub(super) fn without_counters(tensors: &mut TensorMap) -> Option<String> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let mut found = BTreeMap::new();
    tensors.retain(|name, _| {
        let last = last(name);
        let keep = !COUNTERS.contains(&&last[..]);
        if !keep && last != COUNTERS[0] {
            *found.entry(last).or_insert(0) += 1;
        }
        keep
    });
    let found: Vec<String> = found.iter().map(|(name, count)| format!("{count} {name}")).collect();
    (!found.is_empty()).then(|| format!("left out: {}", found.join(", ")))
}

/// Removes the mean and the standard deviation of images, and returns them: one
/// value for each channel.
pub(super) fn take_normalization(tensors: &mut TensorMap) -> Option<[Vec<f32>; 2]> {
    let per_channel = |tensor: &Tensor| matches!(tensor.shape[..], [c] | [c, 1, 1] | [1, c, 1, 1] if c == tensor.data.len() && (c == 1 || c == 3));
    let names = NORMALIZERS
        .into_iter()
        .find(|names| names.iter().all(|name| tensors.get(*name).is_some_and(per_channel)))?;
    let [mean, std] = names.map(|name| tensors.remove(name));
    Some([mean?.data, std?.data])
}

/// Applies what PyTorch stores beside a weight: pruning masks, weight norm,
/// spectral norm. Returns notes.
///
/// # Errors
/// If the shapes do not belong together.
pub(super) fn apply_reparametrizations(tensors: &mut TensorMap) -> Result<Vec<String>, WeightsError> {
    let mut counts = BTreeMap::new();
    let names: Vec<String> = tensors.keys().cloned().collect();
    for name in &names {
        for form in &FORMS {
            let Some(stem) = name.strip_suffix(form.parts[0]) else {
                continue;
            };
            let parts: Vec<String> = form.parts.iter().map(|part| format!("{stem}{part}")).collect();
            if !parts.iter().all(|part| tensors.contains_key(part)) {
                continue;
            }
            let taken: Vec<Tensor> = parts.iter().filter_map(|part| tensors.remove(part)).collect();
            let weight = (form.apply)(&taken).ok_or_else(|| WeightsError::Parts {
                what: form.what,
                tensor: name.clone(),
            })?;
            let layer = stem.strip_suffix("parametrizations.weight.").unwrap_or(stem);
            tensors.insert(format!("{layer}{}", form.target), weight);
            *counts.entry(form.what).or_insert(0) += 1;
            break;
        }
    }
    let notes = counts
        .iter()
        .map(|(what, count)| format!("{what} applied to {count} tensors"));
    Ok(notes.collect())
}

/// How a weight is stored in parts.
struct Form {
    what: &'static str,
    /// The ends of the parts' names, after what they have in common.
    parts: &'static [&'static str],
    /// The end of the weight's name.
    target: &'static str,
    apply: fn(&[Tensor]) -> Option<Tensor>,
}

const FORMS: [Form; 6] = [
    Form {
        what: "the pruning mask",
        parts: &["weight_orig", "weight_mask"],
        target: "weight",
        apply: masked,
    },
    Form {
        what: "the pruning mask",
        parts: &["bias_orig", "bias_mask"],
        target: "bias",
        apply: masked,
    },
    Form {
        what: "spectral norm",
        parts: &["weight_orig", "weight_u", "weight_v"],
        target: "weight",
        apply: spectral,
    },
    Form {
        what: "spectral norm",
        parts: &["original", "0._u", "0._v"],
        target: "weight",
        apply: spectral,
    },
    Form {
        what: "weight norm",
        parts: &["weight_g", "weight_v"],
        target: "weight",
        apply: normed,
    },
    Form {
        what: "weight norm",
        parts: &["original0", "original1"],
        target: "weight",
        apply: normed,
    },
];

fn masked(parts: &[Tensor]) -> Option<Tensor> {
    let [weight, mask] = parts else { return None };
    (weight.shape == mask.shape).then(|| Tensor {
        shape: weight.shape.clone(),
        data: std::iter::zip(&weight.data, &mask.data).map(|(w, m)| w * m).collect(),
    })
}

/// g · v / |v|, with the norm of each output channel (Salimans and Kingma 2016,
/// arXiv:1602.07868).
fn normed(parts: &[Tensor]) -> Option<Tensor> {
    let [g, v] = parts else { return None };
    let rows = *v.shape.first()?;
    if g.data.len() != rows || rows == 0 {
        return None;
    }
    let length = v.data.len() / rows;
    let mut data = Vec::with_capacity(v.data.len());
    for (row, &g) in v.data.chunks(length.max(1)).zip(&g.data) {
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        data.extend(row.iter().map(|&x| (f64::from(x) * f64::from(g) / norm) as f32));
    }
    Some(Tensor {
        shape: v.shape.clone(),
        data,
    })
}

/// W / σ with σ = uᵀ W v, where W has a row for each output channel (Miyato et
/// al. 2018, arXiv:1802.05957).
fn spectral(parts: &[Tensor]) -> Option<Tensor> {
    let [weight, u, v] = parts else { return None };
    if u.data.is_empty() || v.data.is_empty() || u.data.len() * v.data.len() != weight.data.len() {
        return None;
    }
    let rows = weight.data.chunks(v.data.len()).zip(&u.data);
    let dot = |row: &[f32]| -> f64 {
        std::iter::zip(row, &v.data)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum()
    };
    let sigma: f64 = rows.map(|(row, &u)| f64::from(u) * dot(row)).sum();
    Some(Tensor {
        shape: weight.shape.clone(),
        data: weight.data.iter().map(|&x| (f64::from(x) / sigma) as f32).collect(),
    })
}

/// Subtracts the bias of each convolution that `layout` has no bias for from the
/// running mean of the batch norm that follows it, which is the same function.
/// The names are canonical. Returns a note.
pub(super) fn fold_biases(tensors: &mut TensorMap, layout: &Layout) -> Option<String> {
    let mut folded = 0;
    for (conv, norm) in &layout.norm_after {
        let (name, mean) = (format!("{conv}.bias"), format!("{norm}.running_mean"));
        if layout.conv_biases.contains(&name) {
            continue;
        }
        let fits = tensors
            .get(&name)
            .zip(tensors.get(&mean))
            .is_some_and(|(bias, mean)| bias.data.len() == mean.data.len());
        if !fits {
            continue;
        }
        let Some(bias) = tensors.remove(&name) else { continue };
        if let Some(mean) = tensors.get_mut(&mean) {
            for (mean, bias) in std::iter::zip(&mut mean.data, &bias.data) {
                *mean -= bias;
            }
            folded += 1;
        }
    }
    (folded > 0).then(|| format!("{folded} biases of convolutions are folded into the batch norms behind them"))
}

/// Removes biases of convolutions that `layout` has no bias for and that are all
/// zero. Returns a note.
pub(super) fn without_zero_biases(tensors: &mut TensorMap, layout: &Layout) -> Option<String> {
    let is_idle = |name: &&String| {
        let (layer, part) = split(name);
        let of_conv = || {
            tensors
                .get(&format!("{layer}.weight"))
                .is_some_and(|weight| weight.shape.len() == 4)
        };
        part == "bias"
            && !layout.conv_biases.contains(*name)
            && of_conv()
            && tensors[*name].data.iter().all(|&value| value == 0.0)
    };
    let idle: Vec<String> = tensors.keys().filter(is_idle).cloned().collect();
    idle.iter().for_each(|name| drop(tensors.remove(name)));
    (!idle.is_empty()).then(|| format!("left out: {} biases of convolutions that are zero", idle.len()))
}

/// The batch norm that follows each convolution with a bias of a residual network,
/// by the canonical names alone: `bn1` after `conv1`, or before it where a final
/// norm shows a pre-activation network. None where one of them is followed by no
/// norm: then the network has biases.
pub(super) fn norms_by_name(tensors: &TensorMap) -> BTreeMap<String, String> {
    let blocks = tensors.keys().any(|name| name.starts_with("layer"));
    let preactivation = tensors.contains_key("bn.weight");
    let mut follows = BTreeMap::new();
    for name in tensors.keys().filter(|_| blocks) {
        let (conv, part) = split(name);
        let (block, last) = conv.rsplit_once('.').map_or(("", conv), |(block, last)| (block, last));
        let dotted = |norm: String| {
            if block.is_empty() {
                norm
            } else {
                format!("{block}.{norm}")
            }
        };
        if part != "bias" {
            continue;
        }
        let norm = match last.strip_prefix("conv").map(str::parse::<usize>) {
            Some(Ok(number)) if preactivation && !block.is_empty() => dotted(format!("bn{}", number + 1)),
            Some(Ok(_)) if preactivation => String::new(),
            Some(Ok(number)) => dotted(format!("bn{number}")),
            _ if last == "0" && block.ends_with("downsample") => dotted("1".into()),
            _ => continue,
        };
        if !tensors.contains_key(&format!("{norm}.running_mean")) {
            return BTreeMap::new();
        }
        follows.insert(conv.to_owned(), norm);
    }
    follows
}
