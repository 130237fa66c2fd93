//! Which sentences sum up a lesion study?

use super::{Lesion, LesionFindings};
use crate::studies::evaluator::Evaluation;
use crate::studies::statistics::five_numbers;

impl LesionFindings {
    /// What was found, in one or two sentences: what deletion costs, and with
    /// which blocks it costs most and least.
    pub fn finding(&self) -> String {
        let singles = self.singles();
        let mut sentences = vec![match (&singles[..], &self.lesions[..]) {
            ([], [lesion, ..]) => self.of_one(lesion),
            ([lesion], _) => self.of_one(lesion),
            ([], []) => self.of_others(),
            _ => self.of_each(&singles),
        }];
        sentences.extend(self.of_compared());
        sentences.extend(self.of_corruption());
        sentences.join(" ")
    }

    /// What the lesions of single blocks cost in time, in one or two sentences.
    /// Empty with fewer than two.
    pub fn cost(&self) -> String {
        let Some(saving) = self.saving() else {
            return String::new();
        };
        let number = |key: &str| saving[key].as_f64().unwrap_or_default();
        format!(
            "{} lesions took {:.1} s, the time of {:.2} passes of the whole network ({:.2} s each). This is {:.0} % of \
             the time of separate passes, because shared computations were done once.",
            saving["lesions"],
            number("seconds"),
            number("passes"),
            self.whole.seconds,
            100.0 * number("share_of_separate_passes"),
        )
    }

    fn of_one(&self, lesion: &Lesion) -> String {
        format!(
            "Without {}, the test error of {} changes from {} to {}.",
            self.named(&lesion.blocks),
            self.label,
            error(&self.whole),
            error(&lesion.evaluation)
        )
    }

    fn of_each(&self, singles: &[&Lesion]) -> String {
        let errors: Vec<f64> = singles.iter().map(|lesion| lesion.evaluation.error).collect();
        let median = five_numbers(&errors)[2];
        let (Some(worst), Some(least)) = (costliest(singles), cheapest(singles)) else {
            return String::new();
        };
        format!(
            "Deleting one block {} the test error of {} from {} to {:.2} % in the median: most with {}, to {}, and least \
             with {}, to {}.",
            verb(median, self.whole.error),
            self.label,
            error(&self.whole),
            100.0 * median,
            self.named(&worst.blocks),
            error(&worst.evaluation),
            self.named(&least.blocks),
            error(&least.evaluation)
        )
    }

    /// The finding where no chosen blocks were deleted.
    fn of_others(&self) -> String {
        let whole = error(&self.whole);
        let label = &self.label;
        if let Some(random) = self.random.first()
            && let Some(most) = random.lesions.iter().map(|lesion| lesion.blocks.len()).max()
        {
            let of_most = random.lesions.iter().filter(|lesion| lesion.blocks.len() == most);
            let errors: Vec<f64> = of_most.map(|lesion| lesion.evaluation.error).collect();
            let median = five_numbers(&errors)[2];
            return format!(
                "Deleting {most} of {} at random {} the test error of {label} from {whole} to {:.2} % in the median.",
                random.pool,
                verb(median, self.whole.error),
                100.0 * median
            );
        }
        if let Some(most) = self.reorderings.iter().map(|reordering| reordering.swaps.len()).max() {
            let of_most = self.reorderings.iter().filter(|one| one.swaps.len() == most);
            let errors: Vec<f64> = of_most.map(|one| one.evaluation.error).collect();
            let median = five_numbers(&errors)[2];
            return format!(
                "Exchanging {most} {} of blocks {} the test error of {label} from {whole} to {:.2} % in the median.",
                if most == 1 { "pair" } else { "pairs" },
                verb(median, self.whole.error),
                100.0 * median
            );
        }
        if let Some(last) = self.greedy.last() {
            return format!(
                "Deleting {} of {} blocks of {label}, each time the one that costs least, {} the test error from \
                 {whole} to {}.",
                last.blocks.len(),
                self.blocks.len(),
                verb(last.evaluation.error, self.whole.error),
                error(&last.evaluation)
            );
        }
        let by_ratio = |one: &usize, other: &usize| self.responses[*one].ratio.total_cmp(&self.responses[*other].ratio);
        let all = 0..self.responses.len();
        if let (Some(most), Some(least)) = (all.clone().max_by(by_ratio), all.min_by(by_ratio)) {
            return format!(
                "The branch of {} contributes most to its sum in {label} (‖F(x)‖/‖x‖ = {:.3}), that of {} least ({:.3}).",
                self.named(&[most + 1]),
                self.responses[most].ratio,
                self.named(&[least + 1]),
                self.responses[least].ratio
            );
        }
        format!("The whole network, {label}, has a test error of {whole}.")
    }

    /// The largest cost of one deleted block in the networks beside this one.
    fn of_compared(&self) -> Option<String> {
        let of_one = |other: &super::ComparedNetwork| {
            let singles: Vec<&Lesion> = other.single.iter().collect();
            let worst = costliest(&singles)?;
            Some(format!(
                "that of {} from {} to at most {} (block {})",
                other.label,
                error(&other.whole),
                error(&worst.evaluation),
                worst.blocks[0]
            ))
        };
        let others: Vec<String> = self.compared.iter().filter_map(of_one).collect();
        (!others.is_empty()).then(|| format!("Beside it, deletion changes {}.", others.join(", and ")))
    }

    /// Blocks in words: "block 4 (layer2.0, which downsamples)".
    fn named(&self, numbers: &[usize]) -> String {
        let named = |&number: &usize| {
            let block = &self.blocks[number - 1];
            let more = if block.downsamples { ", which downsamples" } else { "" };
            format!("{number} ({}{more})", block.name)
        };
        let listed: Vec<String> = numbers.iter().map(named).collect();
        match &listed[..] {
            [one] => format!("block {one}"),
            _ => format!("blocks {}", listed.join(", ")),
        }
    }
}

fn costliest<'a>(lesions: &[&'a Lesion]) -> Option<&'a Lesion> {
    lesions.iter().copied().max_by(|one, other| by_cost(one, other))
}

fn cheapest<'a>(lesions: &[&'a Lesion]) -> Option<&'a Lesion> {
    lesions.iter().copied().min_by(|one, other| by_cost(one, other))
}

/// Divergence costs most; otherwise by error, then by loss.
fn by_cost(one: &Lesion, other: &Lesion) -> std::cmp::Ordering {
    let (one, other) = (&one.evaluation, &other.evaluation);
    let by_error = one.error.total_cmp(&other.error);
    one.diverged
        .cmp(&other.diverged)
        .then(by_error)
        .then(one.cost().total_cmp(&other.cost()))
}

fn verb(now: f64, before: f64) -> &'static str {
    match now.total_cmp(&before) {
        std::cmp::Ordering::Greater => "raises",
        std::cmp::Ordering::Less => "lowers",
        std::cmp::Ordering::Equal => "changes",
    }
}

/// An error in words, or that the network diverges.
fn error(evaluation: &Evaluation) -> String {
    let Evaluation {
        images,
        images_not_finite,
        diverged,
        ..
    } = evaluation;
    if *diverged {
        format!("divergence (the loss of {images_not_finite} of {images} images is not finite)")
    } else {
        format!("{:.2} %", 100.0 * evaluation.error)
    }
}
