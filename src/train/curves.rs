//! How did training go, as a picture?

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::directory::EpochRow;

const SIZE: (u32, u32) = (900, 380);
const TRAIN: RGBColor = RGBColor(31, 119, 180);
const TEST: RGBColor = RGBColor(214, 90, 30);

/// Loss and error by epoch, for training and test images, as SVG. `title`
/// names the run.
pub fn curves(title: &str, rows: &[EpochRow]) -> Result<String, String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(text)?;
        let area = area.titled(title, ("sans-serif", 18)).map_err(text)?;
        let panels = area.split_evenly((1, 2));
        let losses = |row: &EpochRow| (row.train_loss, row.test_loss);
        let errors = |row: &EpochRow| (100.0 * row.train_error, 100.0 * row.test_error);
        panel(&panels[0], "loss (nats)", rows, losses)?;
        panel(&panels[1], "error (%)", rows, errors)?;
        area.present().map_err(text)?;
    }
    Ok(svg)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn panel<DB: DrawingBackend>(
    area: &DrawingArea<DB, plotters::coord::Shift>,
    label: &str,
    rows: &[EpochRow],
    values: impl Fn(&EpochRow) -> (f64, f64),
) -> Result<(), String>
where
    std::ops::Range<f64>: AsRangedCoord<Value = f64>,
    <std::ops::Range<f64> as AsRangedCoord>::CoordDescType: ValueFormatter<f64>,
{
    let top = rows
        .iter()
        .map(|row| values(row).0.max(values(row).1))
        .fold(0.0, f64::max);
    let epochs = rows.last().map_or(1, |row| row.epoch);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.5..f64::from(epochs) + 0.5, 0.0..(top * 1.08).max(1e-3))
        .map_err(text)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .y_desc(label)
        .x_labels(epochs.min(10) as usize)
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .max_light_lines(0)
        .draw()
        .map_err(text)?;
    for (name, color, test) in [("training", TRAIN, false), ("test", TEST, true)] {
        let point = |row: &EpochRow| {
            let (train_value, test_value) = values(row);
            (f64::from(row.epoch), if test { test_value } else { train_value })
        };
        let line = LineSeries::new(rows.iter().map(point), color.stroke_width(2)).point_size(3);
        chart
            .draw_series(line)
            .map_err(text)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .draw()
        .map_err(text)
}
