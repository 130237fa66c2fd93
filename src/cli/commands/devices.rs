//! `residua devices`: which adapters can compute?

use crate::cli::{self, CliError};
use crate::gpu;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn devices(args: &Args) -> Result<String, CliError> {
    let adapters = gpu::adapters();
    if args.json {
        return cli::json_line(&serde_json::json!({ "adapters": adapters }));
    }
    if adapters.is_empty() {
        return Err(CliError::failure(gpu::GpuError::NoAdapter));
    }
    let line = |(index, adapter): (usize, &gpu::AdapterInfo)| {
        format!(
            "{index}  {adapter}\n   {:?}; bindings to {} MiB, buffers to {} MiB; subgroups of {}; 16-bit floats: {}; \
             timestamps: {}\n",
            adapter.kind,
            adapter.max_binding >> 20,
            adapter.max_buffer >> 20,
            if adapter.subgroup.0 == adapter.subgroup.1 {
                adapter.subgroup.0.to_string()
            } else {
                format!("{}–{}", adapter.subgroup.0, adapter.subgroup.1)
            },
            if adapter.f16 { "yes" } else { "no" },
            if adapter.timestamps { "yes" } else { "no" },
        )
    };
    let mut text: String = adapters.iter().enumerate().map(line).collect();
    text.push_str("`reference` computes on the processor in 64 bits, without a driver\n");
    Ok(text)
}
