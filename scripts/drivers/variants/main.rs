//! What do the compilers of a machine's drivers say of this program's shaders?
//!
//! `scripts/drivers/farm.py` runs this program once for each driver:
//!
//! ```text
//! variants list DIR [--default] [--subgroup N] [--cpu]   the shaders, as files
//! variants compile DIR [--default] [--part K/N] [--from I] [--spirv]
//! variants run MODEL   the default kernels of a network, each run for the first time
//! ```
//!
//! `list` writes every variant that an adapter may be given as WGSL, MSL and HLSL,
//! without a device. `compile` makes the pipelines of the first Vulkan adapter, and
//! writes a line of JSON for each: its time, and the compiler's own statistics.
//! `--default` leaves out what only the tuner chooses, and takes a few networks that
//! have layers of every kind. `--part K/N` takes every Nth
//! variant, from the Kth on; `--from I` goes on after a compiler that crashed. `run`
//! times the first run too: a driver on a processor compiles only then.

mod driver;
mod first_runs;
mod texts;

#[path = "../../../tests/support/variants.rs"]
mod variants;

use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use residua::kernels::Target;
use serde_json::{Value, json};

use driver::Driver;
use variants::Known;

fn main() -> Result<(), Box<dyn Error>> {
    // SAFETY: no other thread runs yet.
    unsafe { residua::gpu::prepare_environment() };
    let mut words = std::env::args().skip(1);
    let (Some(command), Some(folder)) = (words.next(), words.next()) else {
        return Err("variants list|compile DIR [options]".into());
    };
    let options = Options::read(PathBuf::from(folder), words)?;
    match &*command {
        "list" => list(&options),
        "compile" => compile(&options),
        "run" => first_runs::print(&options.folder.to_string_lossy()),
        other => Err(format!("no command {other}").into()),
    }
}

struct Options {
    folder: PathBuf,
    default_only: bool,
    cpu: bool,
    subgroup: usize,
    part: (usize, usize),
    from: usize,
    spirv: bool,
}

impl Options {
    fn read(folder: PathBuf, mut words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Options {
            folder,
            default_only: false,
            cpu: false,
            subgroup: 0,
            part: (0, 1),
            from: 0,
            spirv: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match &*word {
                "--default" => options.default_only = true,
                "--cpu" => options.cpu = true,
                "--spirv" => options.spirv = true,
                "--subgroup" => options.subgroup = value()?.parse()?,
                "--from" => options.from = value()?.parse()?,
                "--part" => {
                    let text = value()?;
                    let (part, parts) = text.split_once('/').ok_or("--part K/N")?;
                    options.part = (part.parse()?, parts.parse()?);
                }
                other => return Err(format!("no option {other}").into()),
            }
        }
        Ok(options)
    }

    /// The variants for `target`, in the order in which they are numbered.
    fn variants(&self, target: &Target) -> Vec<Known> {
        let some = variants::TUNED.map(str::to_string);
        match self.default_only {
            true => variants::of_models(&some, &[], target),
            // The tuner's choices for more networks would take the slowest compilers
            // half an hour, and differ in channels only.
            false => variants::of_models(&variants::listed(), &some[..2], target),
        }
    }
}

/// What is known of a variant without any compiler.
fn described(one: &Known) -> Value {
    let constants = one.variant.constants.iter();
    json!({
        "file": one.variant.file,
        "entry": one.variant.entry,
        "constants": constants.map(|(name, value)| (name.to_string(), value.to_string())).collect::<HashMap<_, _>>(),
        "default": one.is_default(),
        "model": one.models.iter().next(),
        "algorithm": one.algorithms.iter().next(),
        "f16": one.f16(),
        "int64": one.int64(),
        "subgroup": one.subgroup(),
        "workgroups": one.workgroups,
        "wgsl": one.program.source.len(),
    })
}

/// Writes the shaders of a processor or a GPU as files, and their index.
fn list(options: &Options) -> Result<(), Box<dyn Error>> {
    let target = Target {
        subgroup_size: options.subgroup,
        wide_loads: options.cpu,
        ..Target::portable(options.cpu)
    };
    std::fs::create_dir_all(&options.folder)?;
    let known = options.variants(&target);
    let rows = texts::write(&known, &options.folder).map_err(|error| error.to_string())?;
    let mut index = std::fs::File::create(options.folder.join("index.jsonl"))?;
    for (one, row) in known.iter().zip(rows) {
        let mut line = described(one);
        line.as_object_mut().expect("an object").extend(row);
        writeln!(index, "{line}")?;
    }
    println!("{}", known.len());
    Ok(())
}

/// Makes the pipelines on the first adapter, and writes a line for each.
fn compile(options: &Options) -> Result<(), Box<dyn Error>> {
    let info = residua::gpu::adapters().into_iter().next().ok_or("no adapter")?;
    let driver = Driver::open()?;
    let target = driver.target(&info);
    let (part, parts) = options.part;
    let head = json!({
        "adapter": info.name,
        "driver": format!("{} {}", info.driver, info.driver_info),
        "subgroups": [info.subgroup.0, info.subgroup.1],
        "target": format!("{target:?}"),
    });
    println!("{head}");
    let known = options.variants(&target);
    for (index, one) in known.iter().enumerate().filter(|(index, _)| index % parts == part) {
        if index < options.from {
            continue;
        }
        let mut line = described(one);
        line["index"] = index.into();
        if one.f16() && !info.f16 {
            line["left_out"] = "the adapter has no 16-bit floats".into();
            println!("{line}");
            continue;
        }
        // After a crash this line says which variant it was.
        println!(
            "{}",
            json!({"begins": index, "file": one.variant.file, "entry": one.variant.entry})
        );
        let words = driver.spirv(&one.program)?;
        if options.spirv {
            save(&options.folder, index, &words)?;
        }
        let began = Instant::now();
        let answer = driver.pipeline(&words, &one.program);
        line["milliseconds"] = (1e3 * began.elapsed().as_secs_f64()).into();
        match answer {
            Ok(statistics) => line["statistics"] = statistics,
            Err(error) => line["refused"] = error.to_string().into(),
        }
        println!("{line}");
    }
    Ok(())
}

fn save(folder: &Path, index: usize, words: &[u32]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(folder.join(format!("{index:05}.spv")), bytes)
}
