//! How else do people write a model's name?

use super::ModelSpec;

/// Beginnings of names that stand for each other. Whether they do so for a
/// network, its reader decides.
const BEGINNINGS: [(&str, &[&str]); 4] = [
    ("preact-", &["preact-resnet-", "preresnet-", "pre-resnet-"]),
    ("wrn-", &["wide-resnet-"]),
    ("fusenet-cross-", &["dmrnet-", "dfn-mr-"]),
    ("densenet-bc-", &["densenet-bc-l"]),
];

impl ModelSpec {
    /// Other spellings of this model's name, with its options as they are
    /// written here: `wide-resnet-28-10`, `wrn_28_10` for `wrn-28-10`.
    ///
    /// ```
    /// use residua::models::ModelSpec;
    ///
    /// let spec: ModelSpec = "wide_resnet50_2".parse()?;
    /// assert_eq!(spec.to_string(), "wide-resnet-50-2");
    /// assert!(spec.spellings().contains(&"wide_resnet50_2".to_string()));
    /// # Ok::<(), residua::models::ModelError>(())
    /// ```
    pub fn spellings(&self) -> Vec<String> {
        let own = self.to_string();
        let (base, options) = match own.split_once(':') {
            Some((base, options)) => (base, format!(":{options}")),
            None => (own.as_str(), String::new()),
        };
        let mut bases = vec![base.to_string()];
        for (beginning, others) in BEGINNINGS {
            if let Some(rest) = base.strip_prefix(beginning) {
                bases.extend(others.iter().map(|other| format!("{other}{rest}")));
            }
        }
        let mut found: Vec<String> = Vec::new();
        for base in bases {
            let joined = without_first_hyphen(&base);
            let divided = with_first_hyphen(&base);
            for name in [
                &base,
                &joined,
                &divided,
                &joined.replace('-', "_"),
                &divided.replace('-', "_"),
            ] {
                let name = format!("{name}{options}");
                if name != own && !found.contains(&name) && name.parse().as_ref() == Ok(self) {
                    found.push(name);
                }
            }
        }
        found
    }
}

/// `wrn-28-10` as `wrn28-10`: no hyphen before the first number.
fn without_first_hyphen(name: &str) -> String {
    match first_number(name) {
        Some(at) if name[..at].ends_with('-') => format!("{}{}", &name[..at - 1], &name[at..]),
        _ => name.to_string(),
    }
}

/// `resnet20` as `resnet-20`.
fn with_first_hyphen(name: &str) -> String {
    match first_number(name) {
        Some(at) if !name[..at].ends_with('-') => format!("{}-{}", &name[..at], &name[at..]),
        _ => name.to_string(),
    }
}

/// Where the first digit after a letter or hyphen is.
fn first_number(name: &str) -> Option<usize> {
    name.find(|c: char| c.is_ascii_digit()).filter(|at| *at > 0)
}
