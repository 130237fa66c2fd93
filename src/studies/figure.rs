//! What do a study's results look like?

use plotters::prelude::*;

use super::lesion::Lesion;
use crate::graph::Block;

const SIZE: (u32, u32) = (860, 400);
const LINE: RGBColor = RGBColor(31, 119, 180);
const DOWNSAMPLING: RGBColor = RGBColor(214, 90, 30);
const BASELINE: RGBColor = RGBColor(90, 90, 90);

/// Test error by deleted block, as SVG: the whole network as a dashed line,
/// blocks that change the resolution marked, stages shaded in turn. Lesions of
/// several blocks at once have no place on the axis and are left out.
pub fn lesion_figure(title: &str, baseline: &Lesion, lesions: &[Lesion], blocks: &[Block]) -> Result<String, String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&area, title, baseline, lesions, blocks).map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

fn draw<DB: DrawingBackend>(
    area: &DrawingArea<DB, plotters::coord::Shift>,
    title: &str,
    baseline: &Lesion,
    lesions: &[Lesion],
    blocks: &[Block],
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let single = |lesion: &Lesion| match lesion.blocks[..] {
        [number] => Some((number, 100.0 * lesion.outcome.error)),
        _ => None,
    };
    let points: Vec<(usize, f64)> = lesions.iter().filter_map(single).collect();
    let whole = 100.0 * baseline.outcome.error;
    let top = points.iter().map(|point| point.1).fold(whole, f64::max) * 1.1 + 1e-3;
    let end = blocks.len() as f64 + 0.5;

    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.5..end, 0.0..top)?;
    for (first, last) in stages(blocks).into_iter().skip(1).step_by(2) {
        let corners = [(first as f64 - 0.5, 0.0), (last as f64 + 0.5, top)];
        chart.draw_series([Rectangle::new(corners, BLACK.mix(0.05).filled())])?;
    }
    chart
        .configure_mesh()
        .x_desc("deleted block")
        .y_desc("test error (%)")
        .x_labels(blocks.len().min(20))
        .x_label_formatter(&|number| format!("{number:.0}"))
        .max_light_lines(0)
        .draw()?;
    chart
        .draw_series(DashedLineSeries::new(
            [(0.5, whole), (end, whole)],
            6,
            5,
            BASELINE.stroke_width(1),
        ))?
        .label(format!("nothing deleted: {whole:.2} %"))
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BASELINE.stroke_width(1)));
    let line = points.iter().map(|&(number, error)| (number as f64, error));
    chart.draw_series(LineSeries::new(line, LINE.stroke_width(2)))?;
    for (downsamples, color, label) in [
        (false, LINE, "one block deleted"),
        (true, DOWNSAMPLING, "a block that downsamples"),
    ] {
        let own: Vec<(f64, f64)> = points
            .iter()
            .filter(|(number, _)| blocks[number - 1].downsamples == downsamples)
            .map(|&(number, error)| (number as f64, error))
            .collect();
        if !own.is_empty() {
            chart
                .draw_series(own.into_iter().map(|point| Circle::new(point, 5, color.filled())))?
                .label(label)
                .legend(move |(x, y)| Circle::new((x + 9, y), 5, color.filled()));
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()?;
    area.present()
}

/// First and last block number of each stage.
fn stages(blocks: &[Block]) -> Vec<(usize, usize)> {
    let mut stages: Vec<(usize, usize)> = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        if index > 0 && blocks[index - 1].stage == block.stage {
            if let Some(stage) = stages.last_mut() {
                stage.1 = index + 1;
            }
        } else {
            stages.push((index + 1, index + 1));
        }
    }
    stages
}
