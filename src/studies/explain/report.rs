//! How are explanations presented?

use serde_json::{Value, json};

use super::{Attribution, ExplainedImage, Explanations, Method};
use crate::report::{Column, Item, Picture, PictureRow, Pictures, Table};

/// The part of the values of an image that has less than the strongest colour.
const SHOWN: f64 = 0.99;

impl Explanations {
    /// What was found, in one sentence.
    pub fn finding(&self) -> String {
        let right = self
            .images
            .iter()
            .filter(|image| image.predicted == image.label)
            .count();
        let deleted = match self.deleted.is_empty() {
            true => String::new(),
            false => format!(" without block {}", self.list_of_deleted()),
        };
        format!(
            "{}{deleted} classifies {right} of these {} images correctly; the pictures show which pixels raise the score of \
             a class (red), and which lower it (blue).",
            self.label,
            self.images.len()
        )
    }

    fn list_of_deleted(&self) -> String {
        let numbers: Vec<String> = self.deleted.iter().map(usize::to_string).collect();
        numbers.join(", ")
    }

    /// The sections of the report.
    pub fn items(&self) -> Vec<Item> {
        vec![
            Item::heading("Which pixels raise the score"),
            Item::Pictures(self.pictures()),
            Item::Table(self.table()),
        ]
    }

    fn class(&self, class: u32) -> &str {
        self.set.class_names.get(class as usize).map_or("", String::as_str)
    }

    fn pictures(&self) -> Pictures {
        let rows = self.images.iter().enumerate().map(|(number, image)| {
            let label = self.class(image.label);
            let words = vec![
                format!("image {}: {label}", image.index),
                format!("predicted: {}", self.class(image.predicted)),
                format!("score of {}:", self.class(image.class)),
                format!("{:.2} ({:.1} %)", image.score, 100.0 * image.probability),
            ];
            let own = self.picture(number, label);
            let maps = self.attributions.iter().map(|one| self.map(one, number, image, &own));
            PictureRow {
                words,
                pictures: std::iter::once(own.clone()).chain(maps).collect(),
            }
        });
        let titles = self.attributions.iter().map(|one| title(one.method).to_string());
        Pictures {
            name: "explanations".to_string(),
            title: format!("{}: which pixels raise the score of a class", self.label),
            caption: format!(
                "Red pixels raise the score, blue ones lower it; each picture has its own scale, and its strongest \
                 hundredth one colour. Values of channels are added. Grad-CAM has the resolution of what it reads ({}), and no \
                 negative values.",
                self.layer
            ),
            columns: std::iter::once("image".to_string()).chain(titles).collect(),
            rows: rows.collect(),
        }
    }

    /// An image as it is.
    fn picture(&self, number: usize, text: &str) -> Picture {
        let bytes = self.set.image(number);
        let plane = self.set.height * self.set.width;
        let channel = |at: usize, color: usize| bytes[color.min(self.set.channels - 1) * plane + at];
        Picture {
            width: self.set.width,
            height: self.set.height,
            pixels: (0..plane).map(|at| [0, 1, 2].map(|color| channel(at, color))).collect(),
            text: text.to_string(),
        }
    }

    fn map(&self, one: &Attribution, number: usize, image: &ExplainedImage, own: &Picture) -> Picture {
        let values = by_pixel(one, number, [self.set.height, self.set.width]);
        let mut sizes: Vec<f64> = values.iter().map(|value| value.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        let most = sizes[((sizes.len() - 1) as f64 * SHOWN) as usize].max(sizes[sizes.len() - 1] / 10.0);
        let text = format!(
            "{} of image {} for {}",
            title(one.method),
            image.index,
            self.class(image.class)
        );
        Picture::of_values(own, &values, most, text)
    }

    fn table(&self) -> Table {
        let has_integral = self.images.iter().any(|image| image.integral.is_some());
        let mut columns = vec![
            Column::plain("image", "image"),
            Column::plain("label", "label"),
            Column::plain("predicted", "predicted"),
            Column::plain("class", "explained class"),
            Column::number("score", "score", 3),
            Column::percent("probability", "probability (%)"),
        ];
        if has_integral {
            columns.push(Column::number("baseline_score", "score of the baseline", 3));
            columns.push(Column::number("integral", "sum of integrated gradients", 3));
        }
        let row = |image: &ExplainedImage| {
            let mut row: Vec<Value> = vec![
                image.index.into(),
                self.class(image.label).into(),
                self.class(image.predicted).into(),
                self.class(image.class).into(),
                image.score.into(),
                image.probability.into(),
            ];
            row.extend(image.integral.into_iter().flatten().map(Value::from));
            row
        };
        Table::new("scores", "Scores", columns, self.images.iter().map(row).collect())
    }

    /// The results as fields of a JSON object.
    pub fn json(&self) -> Value {
        let image = |image: &ExplainedImage| {
            let mut value = json!({
                "image": image.index,
                "label": image.label,
                "predicted": image.predicted,
                "class": image.class,
                "score": image.score,
                "probability": image.probability,
            });
            if let Some([baseline, sum]) = image.integral {
                value["baseline_score"] = baseline.into();
                value["integral"] = sum.into();
            }
            value
        };
        let methods = self.attributions.iter().map(|one| {
            let shape = [&[self.images.len()], &one.shape[..]].concat();
            json!({"method": one.method.name(), "shape": shape, "file": format!("{}.npy", one.method.name())})
        });
        json!({
            "images": self.images.iter().map(image).collect::<Vec<_>>(),
            "methods": methods.collect::<Vec<_>>(),
            "deleted": self.deleted,
        })
    }
}

fn title(method: Method) -> &'static str {
    match method {
        Method::Gradient => "gradient",
        Method::Integrated => "integrated gradients",
        Method::GradCam => "Grad-CAM",
        Method::Occlusion => "occlusion",
    }
}

/// The values of one image with a value for each pixel: channels are added, smaller
/// planes enlarged bilinearly.
fn by_pixel(one: &Attribution, number: usize, [high, wide]: [usize; 2]) -> Vec<f64> {
    let size: usize = one.shape.iter().product();
    let values = &one.values[number * size..][..size];
    let (rows, columns) = match one.shape[..] {
        [.., rows, columns] => (rows, columns),
        _ => return vec![0.0; high * wide],
    };
    let plane = rows * columns;
    let sum = |at: usize| {
        values
            .iter()
            .skip(at)
            .step_by(plane)
            .map(|&value| f64::from(value))
            .sum::<f64>()
    };
    let sums: Vec<f64> = (0..plane).map(sum).collect();
    // Where the middle of a pixel lies in the plane: the two next values and a part.
    let between = |at: usize, pixels: usize, count: usize| {
        let place = ((at as f64 + 0.5) * count as f64 / pixels as f64 - 0.5).clamp(0.0, (count - 1) as f64);
        let low = place.floor() as usize;
        (low, (low + 1).min(count - 1), place.fract())
    };
    let value = |at: usize| {
        let (top, bottom, down) = between(at / wide, high, rows);
        let (left, right, across) = between(at % wide, wide, columns);
        let line = |row: usize| (1.0 - across) * sums[row * columns + left] + across * sums[row * columns + right];
        (1.0 - down) * line(top) + down * line(bottom)
    };
    (0..high * wide).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_added_and_small_planes_enlarged() {
        let attribution = |shape: Vec<usize>, values: Vec<f32>| Attribution {
            method: Method::Gradient,
            shape,
            values,
        };
        let whole = attribution(vec![2, 1, 2], vec![1.0, 2.0, 10.0, 20.0]);
        assert_eq!(by_pixel(&whole, 0, [1, 2]), [11.0, 22.0]);
        let small = attribution(vec![1, 2], vec![0.0, 4.0]);
        assert_eq!(by_pixel(&small, 0, [2, 4]), [0.0, 1.0, 3.0, 4.0, 0.0, 1.0, 3.0, 4.0]);
    }
}
