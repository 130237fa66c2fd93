//! How do loss, error and learning rate develop over the epochs of a run, as a figure?

use super::directory::EpochRow;
use crate::report::{Axis, Figure, Layer, Mark, stack};

/// Loss and error by epoch, for training images and those that are `evaluated` ("test" or
/// "validation"), and the learning rate, as SVG. `title` names the run.
pub fn curves(title: &str, rows: &[EpochRow], evaluated: &str) -> String {
    let epochs = rows.last().map_or(1, |row| row.epoch);
    let losses = |row: &EpochRow| (row.train_loss, row.test_loss);
    let errors = |row: &EpochRow| (100.0 * row.train_error, 100.0 * row.test_error);
    let figure = |name: &str, label: &str, top: f64, layers: Vec<Layer>| Figure {
        name: name.to_string(),
        title: format!("{title}: {name}"),
        caption: String::new(),
        emphasis: String::new(),
        x: Axis::linear("epoch").within(0.5, f64::from(epochs) + 0.5),
        y: Axis::linear(label).within(0.0, top),
        layers,
    };
    let panel = |name: &str, label: &str, values: &dyn Fn(&EpochRow) -> (f64, f64)| {
        let layers = vec![
            line("training", rows, |row| values(row).0),
            line(evaluated, rows, |row| values(row).1),
        ];
        figure(name, label, top(rows, values), layers)
    };
    let rate = line("learning rate", rows, |row| row.lr);
    stack(&[
        panel("loss", "loss (nats)", &losses),
        panel("error", "error (%)", &errors),
        figure(
            "learning rate",
            "learning rate",
            top(rows, &|row| (row.lr, row.lr)),
            vec![rate],
        ),
    ])
}

/// The upper end of the axis: a little above the largest value. The axis starts
/// at zero, so that relative changes are visible.
fn top(rows: &[EpochRow], values: &dyn Fn(&EpochRow) -> (f64, f64)) -> f64 {
    let largest = rows.iter().map(|row| values(row).0.max(values(row).1));
    (1.08 * largest.fold(0.0, f64::max)).max(1e-9)
}

fn line(label: &str, rows: &[EpochRow], value: impl Fn(&EpochRow) -> f64) -> Layer {
    let mark = |row: &EpochRow| {
        let text = format!("{label}, epoch {}: {}", row.epoch, rounded(value(row)));
        Mark::new(f64::from(row.epoch), value(row), text)
    };
    Layer::Line {
        label: label.to_string(),
        marks: rows.iter().map(mark).collect(),
    }
}

/// With four decimals, or four digits where those would be zeros.
fn rounded(value: f64) -> String {
    if value == 0.0 || value.abs() >= 0.1 {
        format!("{value:.4}")
    } else {
        format!("{value:.3e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_has_five_marks() {
        let row = |epoch: u32| EpochRow {
            epoch,
            train_loss: 2.0 / f64::from(epoch),
            train_error: 0.5,
            test_loss: 2.1,
            test_error: 0.6,
            lr: 0.1,
            images_per_second: 1.0,
            seconds: 1.0,
            gradient_norm: None,
            loss_scale: None,
        };
        for epochs in [0, 1, 200] {
            let rows: Vec<EpochRow> = (1..=epochs).map(row).collect();
            let svg = curves("resnet20 on synthetic", &rows, "validation");
            assert_eq!(svg.contains("validation, epoch"), epochs > 0);
            assert_eq!(svg.matches(r#"class="mark""#).count(), 5 * epochs as usize);
        }
    }
}
