//! How does a Vulkan driver compile a program, and what does its compiler say of
//! the result?
//!
//! SPIR-V is written, and the device opened, as wgpu 30 does it
//! (`wgpu-hal/src/vulkan`), but with `VK_KHR_pipeline_executable_properties`:
//! registers, spills and occupancy, in each driver's own words.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::CStr;

use ash::{Device, Entry, Instance, ext, khr, vk};
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use residua::gpu::{AdapterInfo, AdapterKind, Program};
use residua::kernels::Target;
use serde_json::{Map, Value};

/// A device of the first physical device.
pub struct Driver {
    _entry: Entry,
    instance: Instance,
    device: Device,
    /// `None` where the driver has no statistics.
    executables: Option<khr::pipeline_executable_properties::Device>,
    alignment: u64,
    workgroups: u32,
    int64: bool,
    subgroups: bool,
    /// Whether the hardware bounds all loads and stores.
    robust: bool,
    version: (u8, u8),
    capabilities: Vec<spv::Capability>,
    /// All that were made. Mesa's shims never give memory back: a driver that frees
    /// the memory of one pipeline, and takes some for the next, comes to its end.
    made: RefCell<Vec<vk::Pipeline>>,
}

impl Driver {
    /// Opens the first physical device.
    pub fn open() -> Result<Self, Box<dyn Error>> {
        // SAFETY: the Vulkan loader is loaded and stays loaded: its entry points are
        // used by this type only, which keeps them.
        let entry = unsafe { Entry::load()? };
        let application = vk::ApplicationInfo::default()
            .api_version(vk::API_VERSION_1_3)
            .engine_name(c"wgpu-hal");
        let create = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: the structures live until the call returns, and ask for no layers
        // or extensions that might be absent.
        let instance = unsafe { entry.create_instance(&create, None)? };
        // SAFETY: the instance was just made.
        let physical = *unsafe { instance.enumerate_physical_devices()? }
            .first()
            .ok_or("no Vulkan device")?;
        // SAFETY: the physical device is one of this instance.
        let extensions = unsafe { instance.enumerate_device_extension_properties(physical)? };
        let has = |name: &CStr| {
            extensions
                .iter()
                .any(|extension| extension.extension_name_as_c_str() == Ok(name))
        };
        // SAFETY: as above.
        let properties = unsafe { instance.get_physical_device_properties(physical) };

        let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
        let mut statistics = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
        let mut memory_16 = vk::PhysicalDevice16BitStorageFeatures::default();
        let mut half = vk::PhysicalDeviceShaderFloat16Int8Features::default();
        let mut sizes = vk::PhysicalDeviceSubgroupSizeControlFeatures::default();
        let mut features = vk::PhysicalDeviceFeatures2::default()
            .push_next(&mut robustness)
            .push_next(&mut statistics)
            .push_next(&mut memory_16)
            .push_next(&mut half)
            .push_next(&mut sizes);
        // SAFETY: every structure of the chain has its type set by `default`, and
        // drivers ignore those that they do not know.
        unsafe { instance.get_physical_device_features2(physical, &mut features) };
        let core = features.features;
        let robust = has(ext::robustness2::NAME) && robustness.robust_buffer_access2 == vk::TRUE;
        let has_statistics =
            has(khr::pipeline_executable_properties::NAME) && statistics.pipeline_executable_info == vk::TRUE;
        let f16 = half.shader_float16 == vk::TRUE
            && memory_16.storage_buffer16_bit_access == vk::TRUE
            && memory_16.uniform_and_storage_buffer16_bit_access == vk::TRUE;
        let int64 = core.shader_int64 == vk::TRUE;

        let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default()
            .robust_buffer_access2(robust)
            .robust_image_access2(robust && robustness.robust_image_access2 == vk::TRUE);
        let mut statistics = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
            .pipeline_executable_info(has_statistics);
        let mut memory_16 = vk::PhysicalDevice16BitStorageFeatures::default()
            .storage_buffer16_bit_access(f16)
            .uniform_and_storage_buffer16_bit_access(f16);
        let mut half = vk::PhysicalDeviceShaderFloat16Int8Features::default().shader_float16(f16);
        let varying = sizes.subgroup_size_control;
        let mut sizes =
            vk::PhysicalDeviceSubgroupSizeControlFeatures::default().subgroup_size_control(varying == vk::TRUE);
        let enabled = vk::PhysicalDeviceFeatures::default()
            .robust_buffer_access(true)
            .shader_int64(int64);
        let mut names = Vec::new();
        let mut create = vk::DeviceCreateInfo::default()
            .enabled_features(&enabled)
            .push_next(&mut memory_16)
            .push_next(&mut half)
            .push_next(&mut sizes);
        if robust {
            names.push(ext::robustness2::NAME.as_ptr());
            create = create.push_next(&mut robustness);
        }
        if has_statistics {
            names.push(khr::pipeline_executable_properties::NAME.as_ptr());
            create = create.push_next(&mut statistics);
        }
        // SAFETY: as above.
        let families = unsafe { instance.get_physical_device_queue_family_properties(physical) };
        let family = families
            .iter()
            .position(|family| family.queue_flags.contains(vk::QueueFlags::COMPUTE))
            .ok_or("no queue for compute shaders")?;
        let queues = [vk::DeviceQueueCreateInfo::default()
            .queue_family_index(family as u32)
            .queue_priorities(&[1.0])];
        let create = create.queue_create_infos(&queues).enabled_extension_names(&names);
        // SAFETY: the features and extensions were asked for above and are there, the
        // family exists, and all structures and names live until the call returns.
        let device = unsafe { instance.create_device(physical, &create, None)? };

        use spv::Capability;
        let mut capabilities = vec![Capability::Shader, Capability::Matrix];
        if varying == vk::TRUE {
            capabilities.extend([
                Capability::GroupNonUniform,
                Capability::GroupNonUniformVote,
                Capability::GroupNonUniformArithmetic,
                Capability::GroupNonUniformBallot,
                Capability::GroupNonUniformShuffle,
                Capability::GroupNonUniformShuffleRelative,
                Capability::GroupNonUniformQuad,
            ]);
        }
        capabilities.extend(int64.then_some(Capability::Int64));
        capabilities.extend(f16.then_some(Capability::Float16));
        Ok(Driver {
            executables: has_statistics.then(|| khr::pipeline_executable_properties::Device::new(&instance, &device)),
            alignment: properties.limits.min_storage_buffer_offset_alignment,
            workgroups: properties.limits.max_compute_work_group_count[0],
            version: if properties.api_version >= vk::API_VERSION_1_3 {
                (1, 6)
            } else {
                (1, 5)
            },
            subgroups: varying == vk::TRUE,
            int64,
            robust,
            capabilities,
            made: RefCell::default(),
            device,
            instance,
            _entry: entry,
        })
    }

    /// What kernels need to know about this adapter, which wgpu describes as `info`.
    pub fn target(&self, info: &AdapterInfo) -> Target {
        let cpu = info.kind == AdapterKind::Cpu && info.compiles_long_programs();
        let (smallest, largest) = info.subgroup;
        let fixed = self.subgroups && smallest == largest && smallest.is_power_of_two();
        Target {
            cpu,
            binding: info.max_binding,
            alignment: self.alignment.max(16),
            workgroups: self.workgroups.min(65_535),
            subgroup_size: if fixed { smallest as usize } else { 0 },
            wide_loads: cpu && self.int64,
            ..Target::portable(cpu)
        }
    }

    /// The SPIR-V of `program`, as wgpu gives it to this driver.
    pub fn spirv(&self, program: &Program) -> Result<Vec<u32>, Box<dyn Error>> {
        let source: &str = &program.source;
        let module = naga::front::wgsl::parse_str(source).map_err(|error| error.emit_to_string(source))?;
        let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
        let info = validator
            .validate(&module)
            .map_err(|error| error.emit_to_string(source))?;
        // wgpu numbers the bindings of a layout from 0.
        let numbered = program.bindings.iter().zip(0..);
        let binding_map = numbered.map(|(&(binding, _), number)| {
            let place = naga::ResourceBinding { group: 0, binding };
            let info = spv::BindingInfo {
                descriptor_set: 0,
                binding: number,
                binding_array_size: None,
            };
            (place, info)
        });
        let options = spv::Options {
            lang_version: self.version,
            flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
            fake_missing_bindings: false,
            binding_map: binding_map.collect::<BTreeMap<_, _>>(),
            capabilities: Some(self.capabilities.iter().copied().collect()),
            bounds_check_policies: BoundsCheckPolicies {
                index: BoundsCheckPolicy::Restrict,
                buffer: match self.robust {
                    true => BoundsCheckPolicy::Unchecked,
                    false => BoundsCheckPolicy::Restrict,
                },
                image_load: BoundsCheckPolicy::Unchecked,
                binding_array: BoundsCheckPolicy::Unchecked,
            },
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            ..spv::Options::default()
        };
        let pipeline = spv::PipelineOptions {
            shader_stage: naga::ShaderStage::Compute,
            entry_point: "main".into(),
        };
        Ok(spv::write_vec(&module, &info, &options, Some(&pipeline))?)
    }

    /// Makes the pipeline of the SPIR-V `words` of `program`. Returns the compiler's
    /// statistics, by the driver's names.
    pub fn pipeline(&self, words: &[u32], program: &Program) -> Result<Value, vk::Result> {
        let device = &self.device;
        let bindings: Vec<_> = (0..program.bindings.len() as u32)
            .map(|number| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(number)
                    .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        let code = vk::ShaderModuleCreateInfo::default().code(words);
        // SAFETY: naga validated the module that the words are written from; every
        // object is one of this device, is destroyed once, after its last use, and
        // nothing of them is ever submitted.
        unsafe {
            let set = device.create_descriptor_set_layout(&set, None)?;
            let sets = [set];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = device.create_pipeline_layout(&layout, None)?;
            let module = device.create_shader_module(&code, None)?;
            let mut flags = vk::PipelineShaderStageCreateFlags::empty();
            if self.subgroups {
                flags |= vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE;
            }
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .flags(flags)
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(c"main");
            let mut create = vk::ComputePipelineCreateInfo::default().layout(layout).stage(stage);
            if self.executables.is_some() {
                create = create.flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR);
            }
            let made = device.create_compute_pipelines(vk::PipelineCache::null(), &[create], None);
            let statistics = match &made {
                Ok(pipelines) => self.statistics(pipelines[0]),
                Err(_) => Ok(Value::Null),
            };
            // What failed has pipelines, too: those that were made before.
            let (Ok(pipelines) | Err((pipelines, _))) = &made;
            self.made.borrow_mut().extend(pipelines);
            device.destroy_shader_module(module, None);
            device.destroy_pipeline_layout(layout, None);
            device.destroy_descriptor_set_layout(set, None);
            made.map_err(|(_, error)| error)?;
            statistics
        }
    }

    /// The statistics of the first executable of `pipeline`.
    fn statistics(&self, pipeline: vk::Pipeline) -> Result<Value, vk::Result> {
        let Some(executables) = &self.executables else {
            return Ok(Value::Null);
        };
        let mut found = Map::new();
        let asked = vk::PipelineInfoKHR::default().pipeline(pipeline);
        // SAFETY: the pipeline exists, and was made with the flag that statistics need.
        let all = unsafe { executables.get_pipeline_executable_properties(&asked)? };
        for (index, executable) in all.iter().enumerate() {
            let asked = vk::PipelineExecutableInfoKHR::default()
                .pipeline(pipeline)
                .executable_index(index as u32);
            // SAFETY: as above; the index is one of those that were just listed.
            let statistics = unsafe { executables.get_pipeline_executable_statistics(&asked)? };
            let prefix = if all.len() > 1 {
                format!("{index} ")
            } else {
                String::new()
            };
            found.insert(format!("{prefix}subgroup size"), executable.subgroup_size.into());
            for one in statistics {
                let name = one.name_as_c_str().unwrap_or_default().to_string_lossy();
                let number = one.value;
                // SAFETY: the format says which field of the union is valid.
                let value: Value = unsafe {
                    match one.format {
                        vk::PipelineExecutableStatisticFormatKHR::BOOL32 => (number.b32 != 0).into(),
                        vk::PipelineExecutableStatisticFormatKHR::INT64 => number.i64.into(),
                        vk::PipelineExecutableStatisticFormatKHR::UINT64 => number.u64.into(),
                        _ => number.f64.into(),
                    }
                };
                found.insert(format!("{prefix}{name}"), value);
            }
        }
        Ok(Value::Object(found))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: nothing uses the pipelines, and all else of the device was destroyed
        // where it was made. Null handles, of pipelines that were refused, are ignored.
        unsafe {
            for pipeline in self.made.borrow_mut().drain(..) {
                self.device.destroy_pipeline(pipeline, None);
            }
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}
