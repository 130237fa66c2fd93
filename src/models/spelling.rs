//! How do people write a model's name? Papers, torchvision, timm and public code
//! spell one network in many ways.

use super::ModelSpec;

/// Beginnings of names that no family reads, and the ones that are read instead.
const BEGINNINGS: [(&str, &str); 7] = [
    ("pre-act-resnet", "preact"),
    ("pre-act", "preact"),
    ("pre-resnet", "preact"),
    ("plainnet", "plain"),
    ("dfn-mr", "dmrnet"),
    ("seresnet", "se-resnet"),
    ("seresnext", "se-resnext"),
];

/// Ends of names that say what is so anyway: the stride of torchvision's
/// bottlenecks, and that WRN-50-2 has bottlenecks.
const NEEDLESS_ENDS: [&str; 4] = ["-v1-5", "-v1.5", "v1.5", "-bottleneck"];

/// Other beginnings that [`ModelSpec::spellings`] tries for a name that begins so.
/// What is read as the same network is a spelling of it.
const ALTERNATIVES: [(&str, &[&str]); 6] = [
    ("preact-", &["preact-resnet-", "preresnet-"]),
    ("wrn-", &["wide-resnet-"]),
    ("wide-resnet-", &["wrn-"]),
    ("fusenet-cross-", &["dmrnet-"]),
    ("resnet", &["resnet-"]),
    ("plain-", &["plainnet-"]),
];

/// A name as the families read it: in small letters, with hyphens, and with one of
/// several beginnings. `WRN_28_10` becomes `wrn-28-10`.
pub(super) fn usual(name: &str) -> String {
    let separator = |c: char| matches!(c, '-' | '_' | ',' | ' ');
    let name = name.trim().to_ascii_lowercase().replace('×', "x");
    let words: Vec<&str> = name.split(separator).filter(|word| !word.is_empty()).collect();
    let mut name = words.join("-");
    if let Some((beginning, usual)) = BEGINNINGS.iter().find(|(beginning, _)| name.starts_with(beginning)) {
        name = format!("{usual}{}", &name[beginning.len()..]);
    }
    if let Some(end) = NEEDLESS_ENDS.iter().find(|end| name.ends_with(*end)) {
        name.truncate(name.len() - end.len());
    }
    match name.strip_prefix("densenet-") {
        Some(sizes) => densenet(sizes),
        None => bn(&name).unwrap_or(name),
    }
}

/// `bc-l100-k12` and `100-12-bc` as `densenet-bc-100-12`.
fn densenet(sizes: &str) -> String {
    let number = |word: &str| {
        let digits = word.strip_prefix(['l', 'k']);
        digits.filter(|digits| !digits.is_empty()).unwrap_or(word).to_string()
    };
    let words: Vec<&str> = sizes.split('-').collect();
    let bc = if words.contains(&"bc") { "bc-" } else { "" };
    let numbers: Vec<String> = words.into_iter().filter(|&word| word != "bc").map(number).collect();
    format!("densenet-{bc}{}", numbers.join("-"))
}

/// `vgg16bn` as `vgg16-bn`.
fn bn(name: &str) -> Option<String> {
    let depth = name.strip_prefix("vgg")?.strip_suffix("bn")?;
    let is_number = !depth.is_empty() && depth.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("vgg{depth}-bn"))
}

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
        for (beginning, others) in ALTERNATIVES {
            if let Some(rest) = base.strip_prefix(beginning) {
                bases.extend(others.iter().map(|other| format!("{other}{rest}")));
            }
        }
        let mut found: Vec<String> = Vec::new();
        for base in bases {
            let joined = without_hyphen_before_number(&base);
            let tried = [base.replace('-', "_"), joined.replace('-', "_"), joined, base];
            for name in tried.map(|name| format!("{name}{options}")) {
                if name != own && !found.contains(&name) && name.parse().as_ref() == Ok(self) {
                    found.push(name);
                }
            }
        }
        found
    }
}

/// `wrn-28-10` as `wrn28-10`.
fn without_hyphen_before_number(name: &str) -> String {
    match name.find(|c: char| c.is_ascii_digit()) {
        Some(at) => match name[..at].strip_suffix('-') {
            Some(beginning) => format!("{beginning}{}", &name[at..]),
            None => name.to_string(),
        },
        None => name.to_string(),
    }
}
