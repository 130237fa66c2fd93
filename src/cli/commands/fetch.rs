//! `fetch`: how does a public data set come onto this computer?

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::cli::{self, CliError, signals};
use crate::data;
use crate::fetch::{FetchError, FetchProgress, Patience, Published, fetch};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data set: cifar10, cifar100, svhn, svhn-extra, mnist, fashion-mnist, stl10,
    /// cifar10-c or tiny-imagenet [default: all are listed]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The folder that gets a folder NAME. Where `--data NAME` looks: in
    /// $RESIDUA_DATA, in ./data, and in your own data folder [default: the first of
    /// these that is set or there]
    #[arg(long, value_name = "DIR", requires = "name")]
    to: Option<PathBuf>,
    /// Another server: the files are URL/FILE. Their sums must be those that the
    /// publisher gives [default: the publisher's]
    #[arg(long, value_name = "URL", requires = "name")]
    from: Option<String>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn fetch_data(args: &Args) -> Result<String, CliError> {
    let Some(name) = &args.name else {
        return list(args.json);
    };
    let published = Published::named(name).ok_or_else(|| {
        let names: Vec<&str> = Published::all().iter().map(|data| data.name.as_str()).collect();
        CliError::argument(format!(
            "'{}' cannot be fetched: choose {}",
            crate::shown::shown(name),
            names.join(", ")
        ))
    })?;
    let published = match &args.from {
        Some(base) => published.clone().at(base),
        None => published.clone(),
    };
    let place = args.to.clone().or_else(data::destination).ok_or_else(|| {
        CliError::argument("there is no folder for data: neither RESIDUA_DATA nor HOME is set; name one by --to DIR")
    })?;
    let bar = bar();
    let mut listener = |progress: FetchProgress| match progress {
        FetchProgress::Downloading { file, bytes, of } => {
            if let Some(of) = of {
                bar.set_length(of);
            }
            bar.set_position(bytes);
            bar.set_message(file.to_owned());
        }
        FetchProgress::Checking { file } => bar.set_message(format!("{file}, checking its sum")),
        FetchProgress::Unpacking { file } => bar.set_message(format!("{file}, unpacking")),
    };
    let result = fetch(
        &published,
        &place,
        &Patience::default(),
        &signals::stop(),
        &mut listener,
    );
    bar.finish_and_clear();
    let fetched = result.map_err(|error| match &error {
        FetchError::Stopped => CliError::stopped(error),
        FetchError::Status { .. } | FetchError::Sum { .. } => CliError::failure(format!("{error} (--from URL)")),
        _ => CliError::failure(error),
    })?;
    // Found without a path where it lies in the usual places.
    let usual = data::places().iter().any(|usual| usual.join(name) == fetched.folder);
    let spec = if usual {
        name.clone()
    } else {
        format!("{name}:{}", fetched.folder.display())
    };
    if args.json {
        return cli::json_line(&json!({
            "name": name, "folder": fetched.folder.display().to_string(), "data": spec,
            "was_there": fetched.was_there,
        }));
    }
    let verb = if fetched.was_there { "was already" } else { "is" };
    Ok(format!(
        "{} {verb} in {}; use it by --data {spec}\n",
        published.title,
        fetched.folder.display()
    ))
}

/// Every data set that can be fetched.
fn list(json: bool) -> Result<String, CliError> {
    let all = Published::all();
    if json {
        let value: Vec<_> = all
            .iter()
            .map(|data| json!({ "name": data.name, "title": data.title, "files": data.files.iter().map(|file| &file.urls).collect::<Vec<_>>() }))
            .collect();
        return cli::json_line(&json!({ "data": value }));
    }
    let line = |data: &Published| format!("{:<14} {}\n", data.name, data.title);
    Ok(all.iter().map(line).collect())
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:32} {bytes}/{total_bytes} · {bytes_per_sec} · {msg} · {eta} left")
    {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}
