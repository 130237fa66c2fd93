//! How does the learning rate change during training?

use std::fmt;
use std::str::FromStr;

use crate::shown::shown;

/// The shape of the learning rate over a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// The same in every step.
    Constant,
    /// Multiplied by `factor` at each of `epochs`; if there are none, at one half
    /// and three quarters of the run (Huang et al. 2016).
    MultiStep {
        /// Epochs (from 0) at whose start the rate falls.
        epochs: Vec<f64>,
        /// The factor at each of them.
        factor: f64,
    },
    /// Half a cosine from the full rate to zero (Loshchilov and Hutter 2016,
    /// arXiv:1608.03983).
    Cosine,
    /// The full rate times (1 − t)^power, where t is the part of the run that is done.
    Polynomial {
        /// 1 is a line.
        power: f64,
    },
    /// A rise from 1/25 of the full rate, then a fall to 1/250000 of it, both by half a
    /// cosine (Smith and Topin 2018, arXiv:1708.07120), as PyTorch's OneCycleLR. Momentum
    /// stays as it is.
    OneCycle {
        /// The part of the run in which the rate rises, above 0 and below 1.
        rise: f64,
    },
}

/// The first steps of training at another rate (He et al. 2015 needed this for
/// 110 layers).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct WarmUp {
    /// The number of these steps.
    pub steps: u32,
    /// Their constant rate; if `None`, the rate rises linearly to the full rate.
    pub rate: Option<f64>,
}

/// A learning rate for every step of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    /// The full rate.
    pub base: f64,
    /// How it changes.
    pub schedule: Schedule,
    /// The first steps.
    pub warm_up: WarmUp,
    /// Steps in an epoch.
    pub steps_per_epoch: u32,
    /// Steps in the run.
    pub steps: u32,
}

impl Schedule {
    /// Whether the rate of a step depends on the number of steps in the run.
    pub fn depends_on_length(&self) -> bool {
        match self {
            Schedule::Constant => false,
            Schedule::MultiStep { epochs, .. } => epochs.is_empty(),
            Schedule::Cosine | Schedule::Polynomial { .. } | Schedule::OneCycle { .. } => true,
        }
    }
}

impl Rate {
    /// What the rate never comes to, because the run ends before: a line for the
    /// warm-up and one for the milestones.
    pub fn beyond_end(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.warm_up.steps >= self.steps {
            lines.push(format!(
                "the warm-up of {} steps does not end within the run of {} steps",
                self.warm_up.steps, self.steps
            ));
        }
        if let Schedule::MultiStep { epochs, .. } = &self.schedule {
            let run = f64::from(self.steps) / f64::from(self.steps_per_epoch.max(1));
            let beyond: Vec<String> = epochs
                .iter()
                .filter(|&&epoch| epoch >= run)
                .map(f64::to_string)
                .collect();
            if !beyond.is_empty() {
                lines.push(format!(
                    "the learning rate does not fall at epoch {}: the run ends after {run} epochs",
                    beyond.join(", ")
                ));
            }
        }
        lines
    }

    /// The steps after the warm-up before `step`, and their number in the run.
    fn after_warm_up(&self, step: u32) -> (f64, f64) {
        let run = self.steps.saturating_sub(self.warm_up.steps).max(1);
        (f64::from(step - self.warm_up.steps), f64::from(run))
    }

    /// The learning rate of step `step` (from 0).
    pub fn at(&self, step: u32) -> f64 {
        if step < self.warm_up.steps {
            let rising = self.base * f64::from(step + 1) / f64::from(self.warm_up.steps);
            return self.warm_up.rate.unwrap_or(rising);
        }
        match &self.schedule {
            Schedule::Constant => self.base,
            Schedule::MultiStep { epochs, factor } => {
                let now = f64::from(step);
                let per_epoch = f64::from(self.steps_per_epoch);
                let halves = [0.5, 0.75].map(|part| part * f64::from(self.steps));
                let falls: Vec<f64> = if epochs.is_empty() {
                    halves.to_vec()
                } else {
                    epochs.iter().map(|epoch| epoch * per_epoch).collect()
                };
                let fallen = falls.iter().filter(|&&fall| now >= fall).count();
                self.base * factor.powi(fallen as i32)
            }
            Schedule::Cosine => {
                let (done, run) = self.after_warm_up(step);
                0.5 * self.base * (1.0 + (std::f64::consts::PI * (done / run)).cos())
            }
            Schedule::Polynomial { power } => {
                let (done, run) = self.after_warm_up(step);
                self.base * (1.0 - done / run).max(0.0).powf(*power)
            }
            Schedule::OneCycle { rise } => {
                let (done, run) = self.after_warm_up(step);
                let (first, last) = (self.base / 25.0, self.base / 250_000.0);
                // The steps with the highest and the lowest rate.
                let (top, end) = (rise * run - 1.0, run - 1.0);
                let (from, to, part) = match done <= top {
                    true => (first, self.base, done / top.max(1e-9)),
                    false => (self.base, last, (done - top) / (end - top)),
                };
                to + 0.5 * (from - to) * (1.0 + (std::f64::consts::PI * part).cos())
            }
        }
    }
}

/// The number `text`, or `default` where there is none; `None` for other text.
fn number_or(text: &str, default: f64) -> Option<f64> {
    match text.is_empty() {
        true => Some(default),
        false => text.trim().parse().ok(),
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match (kind, rest) {
            ("constant", "") => Ok(Schedule::Constant),
            ("cosine", "") => Ok(Schedule::Cosine),
            ("polynomial", power) => match number_or(power, 1.0) {
                Some(power) if power > 0.0 && power <= 100.0 => Ok(Schedule::Polynomial { power }),
                _ => Err(format!("'{}' is not a power above 0, at most 100", shown(power))),
            },
            ("one-cycle", rise) => match number_or(rise, 0.3) {
                Some(rise) if rise > 0.0 && rise < 1.0 => Ok(Schedule::OneCycle { rise }),
                _ => Err(format!(
                    "'{}' is not a part of the run, above 0 and below 1",
                    shown(rise)
                )),
            },
            ("multi-step", rest) => {
                let (epochs, factor) = rest.split_once('@').unwrap_or((rest, "0.1"));
                let number = |text: &str| {
                    let value: Option<f64> = text.trim().parse().ok();
                    let value = value.filter(|value| value.is_finite() && *value > 0.0);
                    value.ok_or_else(|| {
                        format!(
                            "'{}' in the schedule '{}' is not a positive number",
                            shown(text),
                            shown(rest)
                        )
                    })
                };
                let listed = epochs.split(',').filter(|text| !text.trim().is_empty());
                Ok(Schedule::MultiStep {
                    epochs: listed.map(number).collect::<Result<_, _>>()?,
                    factor: number(factor)?,
                })
            }
            _ => Err(format!(
                "'{}' is not a schedule; use constant, cosine, polynomial:POWER, one-cycle:PART, multi-step or \
                 multi-step:60,120,160@0.2 (epochs@factor)",
                shown(text)
            )),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Constant => f.write_str("constant"),
            Schedule::Cosine => f.write_str("cosine"),
            Schedule::Polynomial { power } => write!(f, "polynomial:{power}"),
            Schedule::OneCycle { rise } => write!(f, "one-cycle:{rise}"),
            Schedule::MultiStep { epochs, factor } => {
                let epochs: Vec<String> = epochs.iter().map(f64::to_string).collect();
                write!(f, "multi-step:{}@{factor}", epochs.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(schedule: &str, warm_up: WarmUp) -> Rate {
        Rate {
            base: 0.1,
            schedule: schedule.parse().unwrap(),
            warm_up,
            steps_per_epoch: 10,
            steps: 100,
        }
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }

    #[test]
    fn rates_follow_their_schedules() {
        close(rate("constant", WarmUp::default()).at(99), 0.1);
        let steps = rate("multi-step:3,6@0.2", WarmUp::default());
        for (step, expected) in [(29, 0.1), (30, 0.02), (59, 0.02), (60, 0.004)] {
            close(steps.at(step), expected);
        }
        let halves = rate("multi-step", WarmUp::default());
        for (step, expected) in [(49, 0.1), (50, 0.01), (75, 0.001)] {
            close(halves.at(step), expected);
        }
        let cosine = rate("cosine", WarmUp::default());
        close(cosine.at(0), 0.1);
        close(cosine.at(50), 0.05);
        assert!(cosine.at(99) < 1e-4);
    }

    #[test]
    fn rates_rise_and_fall_as_pytorch_has_them() {
        let line = rate("polynomial", WarmUp::default());
        close(line.at(25), 0.075);
        close(rate("polynomial:2", WarmUp::default()).at(50), 0.025);
        let warmed = rate("polynomial", WarmUp { steps: 20, rate: None });
        close(warmed.at(20), 0.1);
        close(warmed.at(60), 0.05);
        // torch.optim.lr_scheduler.OneCycleLR(max_lr=0.1, total_steps=100, pct_start=0.3)
        let cycle = rate("one-cycle", WarmUp::default());
        close(cycle.at(0), 0.1 / 25.0);
        close(cycle.at(29), 0.1);
        close(cycle.at(99), 0.1 / 250_000.0);
        // Half of the fall.
        close(cycle.at(64), 0.5 * (0.1 + 0.1 / 250_000.0));
        assert!((1..30).all(|step| cycle.at(step) > cycle.at(step - 1)));
    }

    #[test]
    fn warm_up_rises_or_waits() {
        let rising = WarmUp { steps: 4, rate: None };
        close(rate("constant", rising).at(0), 0.025);
        close(rate("constant", rising).at(3), 0.1);
        let waiting = WarmUp {
            steps: 4,
            rate: Some(0.01),
        };
        close(rate("constant", waiting).at(3), 0.01);
        close(rate("constant", waiting).at(4), 0.1);
    }

    #[test]
    fn what_lies_beyond_the_end_is_said() {
        let none = rate("multi-step:3,9.5@0.2", WarmUp::default());
        assert!(none.beyond_end().is_empty());
        let late = rate("multi-step:3,10,60@0.2", WarmUp { steps: 100, rate: None });
        let lines = late.beyond_end();
        assert!(
            lines[0].contains("warm-up of 100 steps") && lines[1].contains("epoch 10, 60: "),
            "{lines:?}"
        );
        let of = |text: &str| text.parse::<Schedule>().unwrap().depends_on_length();
        assert_eq!(
            [
                "constant",
                "multi-step:3@0.1",
                "multi-step",
                "cosine",
                "polynomial",
                "one-cycle"
            ]
            .map(of),
            [false, false, true, true, true, true]
        );
    }

    #[test]
    fn schedules_round_trip_and_nonsense_is_refused() {
        for text in [
            "constant",
            "cosine",
            "multi-step:60,120,160@0.2",
            "multi-step:@0.1",
            "polynomial:2",
            "one-cycle:0.25",
        ] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "linear",
            "constant:1",
            "polynomial:0",
            "polynomial:x",
            "one-cycle:1",
            "one-cycle:NaN",
            "multi-step:a",
            "multi-step:60@0",
            "multi-step:-1",
        ] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}
