//! What do the shaders look like in the languages of other compilers? WGSL for
//! Tint, MSL and HLSL as wgpu writes them.

use std::error::Error;
use std::path::Path;

use naga::back::{hlsl, msl};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::variants::Known;

/// Writes `known` as files in `folder`, numbered in their order. For each, the
/// length of its texts, or why a language cannot say it.
pub fn write(known: &[Known], folder: &Path) -> Result<Vec<Map<String, Value>>, Box<dyn Error + Send + Sync>> {
    let numbered = known.par_iter().enumerate();
    numbered.map(|(index, one)| write_one(index, one, folder)).collect()
}

fn write_one(index: usize, one: &Known, folder: &Path) -> Result<Map<String, Value>, Box<dyn Error + Send + Sync>> {
    let source: &str = &one.program.source;
    std::fs::write(folder.join(format!("{index:05}.wgsl")), source)?;
    let module = naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string(source))?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    let info = validator
        .validate(&module)
        .map_err(|error| error.emit_to_string(source))?;
    let policies = BoundsCheckPolicies {
        index: BoundsCheckPolicy::Restrict,
        buffer: BoundsCheckPolicy::Restrict,
        image_load: BoundsCheckPolicy::Restrict,
        binding_array: BoundsCheckPolicy::Unchecked,
    };
    let options = msl::Options {
        lang_version: (2, 4),
        fake_missing_bindings: true,
        bounds_check_policies: policies,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: true,
        ..msl::Options::default()
    };
    let metal = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default());
    let metal = metal.map(|(text, _)| text);
    let options = hlsl::Options {
        shader_model: match one.f16() || one.subgroup() {
            true => hlsl::ShaderModel::V6_2,
            false => hlsl::ShaderModel::V5_1,
        },
        fake_missing_bindings: true,
        special_constants_binding: Some(hlsl::BindTarget {
            space: 255,
            ..hlsl::BindTarget::default()
        }),
        zero_initialize_workgroup_memory: false,
        restrict_indexing: true,
        force_loop_bounding: true,
        ..hlsl::Options::default()
    };
    let mut direct = String::new();
    let pipeline = hlsl::PipelineOptions::default();
    let written = hlsl::Writer::new(&mut direct, &options, &pipeline).write(&module, &info, None);
    let mut row = Map::new();
    row.insert("index".into(), index.into());
    row.insert("msl".into(), length(metal.map_err(|error| error.to_string())));
    row.insert(
        "hlsl".into(),
        length(written.map(|_| direct).map_err(|error| error.to_string())),
    );
    Ok(row)
}

fn length(text: Result<String, String>) -> Value {
    match text {
        Ok(text) => text.len().into(),
        Err(reason) => json!({ "refused": reason }),
    }
}
