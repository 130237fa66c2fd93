//! How do parameters, gradients, momenta and running statistics lie in memory?
//!
//! Each kind is one buffer, an arena, so that the optimizer is one dispatch. A
//! tensor begins at an aligned offset. Parameters without weight decay come
//! last.

use std::ops::Range;
use std::sync::Arc;

use crate::gpu::{Binding, Buffer, Gpu, GpuError, Recorder};
use crate::graph::{Graph, Param, ParamId, Precision, Sources, StateId};
use crate::kernels::{
    ArenaTensor, LOSS_SCALE_BYTES, LossScale, NORM_BYTES, Operand, Optimizer, SEGMENT_BYTES, Segments, UpdateRule,
    operand,
};

/// Values that training changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// A parameter.
    Param(ParamId),
    /// A parameter's momentum, or first moment.
    Momentum(ParamId),
    /// Its second moment, where the optimiser has one.
    Second(ParamId),
    /// Its moving average, where there is one.
    Average(ParamId),
    /// A running state: means, then unbiased variances.
    State(StateId),
    /// Its moving average, where there is one.
    AverageState(StateId),
}

/// Where shards leave their gradients and running statistics, and where these are put
/// together. The arena of running statistics may be empty.
#[derive(Debug, Clone)]
pub(super) struct ShardArenas {
    /// The gradients of a shard.
    pub gradients: Binding,
    /// The sum of those of the shards so far.
    pub sum: Binding,
    /// The running statistics.
    pub states: Binding,
    /// Those before the first shard.
    pub before: Binding,
    /// The mean of those after each shard so far.
    pub mean: Binding,
}

/// Byte ranges of tensors in an arena.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Arena {
    ranges: Vec<Range<u64>>,
    bytes: u64,
}

impl Arena {
    fn place(sizes: impl Iterator<Item = (usize, u64)>, count: usize, alignment: u64) -> Self {
        let mut ranges = vec![0..0; count];
        let mut bytes = 0;
        for (index, size) in sizes {
            ranges[index] = bytes..bytes + size;
            bytes = (bytes + size).next_multiple_of(alignment);
        }
        Arena { ranges, bytes }
    }
}

/// Everything that training changes, on the device.
#[derive(Debug)]
pub struct Weights {
    params: Arena,
    states: Arena,
    decayed: u64,
    param_buffer: Arc<Buffer>,
    state_buffer: Arc<Buffer>,
    training: Option<[Arc<Buffer>; 2]>,
    /// Second moments, where the optimiser has them.
    second: Option<Arc<Buffer>>,
    /// Moving averages of the parameters and of the running statistics.
    averages: Option<[Arc<Buffer>; 2]>,
    /// The segments of all tensors, sums over each of them, and the norm of all
    /// gradients: where the update needs norms.
    norms: Option<[Arc<Buffer>; 3]>,
    /// The loss scale and its record, where gradients are stored in 16 bits.
    loss_scale: Option<Arc<Buffer>>,
    /// The sum of the shards' gradients, the running statistics before the shards, and
    /// the mean of those after them: where a batch has several shards.
    shards: Option<[Arc<Buffer>; 3]>,
    /// Copies of the parameters and running statistics in their own places,
    /// once a route has reordered blocks.
    originals: Option<[Arc<Buffer>; 2]>,
}

impl Weights {
    /// Memory for the parameters and running statistics of `graph`, and with
    /// `training` for gradients and momenta. `decays` says which parameters
    /// weight decay applies to.
    ///
    /// # Errors
    /// Where the device has too little memory.
    pub fn new(gpu: &Gpu, graph: &Graph, training: bool, decays: fn(&Param) -> bool) -> Result<Self, GpuError> {
        let alignment = gpu.limits().alignment.max(64);
        let size = |index: usize| (index, 4 * graph.params[index].len() as u64);
        let count = graph.params.len();
        let decayed = (0..count).filter(|&index| decays(&graph.params[index]));
        let others = (0..count).filter(|&index| !decays(&graph.params[index]));
        let decayed_bytes = Arena::place(decayed.clone().map(size), count, alignment).bytes;
        let params = Arena::place(decayed.chain(others).map(size), count, alignment);
        let state = |(index, state): (usize, &crate::graph::State)| (index, 8 * state.channels as u64);
        let states = Arena::place(
            graph.states.iter().enumerate().map(state),
            graph.states.len(),
            alignment,
        );
        let training = if training {
            Some([
                gpu.buffer("gradients", params.bytes)?,
                gpu.buffer("momenta", params.bytes)?,
            ])
        } else {
            None
        };
        Ok(Weights {
            param_buffer: gpu.buffer("parameters", params.bytes)?,
            state_buffer: gpu.buffer("running states", states.bytes)?,
            params,
            states,
            decayed: decayed_bytes,
            training,
            second: None,
            averages: None,
            norms: None,
            loss_scale: match graph.precision() {
                Precision::F32 => None,
                Precision::F16 => {
                    let buffer = gpu.buffer("loss scale", LOSS_SCALE_BYTES)?;
                    gpu.write(&buffer, 0, &[LossScale::INITIAL]);
                    Some(buffer)
                }
            },
            shards: None,
            originals: None,
        })
    }

    /// Bytes of the memory that [`Self::new`] takes for `graph`, where tensors
    /// are aligned to `alignment` bytes.
    pub fn footprint(graph: &Graph, training: bool, alignment: u64) -> u64 {
        let aligned = |bytes: u64| bytes.next_multiple_of(alignment.max(64));
        let params = graph.params.iter().map(|param| aligned(4 * param.len() as u64));
        let states = graph.states.iter().map(|state| aligned(8 * state.channels as u64));
        params.sum::<u64>() * if training { 3 } else { 1 } + states.sum::<u64>()
    }

    /// Adds the memory that `rule` needs, where there is training, and gives back what
    /// it does not. Second moments are zeros, averages are to be set
    /// ([`Self::start_average`]).
    ///
    /// # Errors
    /// Where the device has too little memory.
    pub fn follow(&mut self, gpu: &Gpu, rule: &UpdateRule, segments: &Segments) -> Result<(), GpuError> {
        let trains = self.training.is_some();
        let buffer = |name, bytes: u64| gpu.buffer(name, bytes.max(16));
        self.second = match rule.optimizer {
            Optimizer::AdamW { .. } if trains => Some(buffer("second moments", self.params.bytes)?),
            _ => None,
        };
        self.averages = match rule.average {
            Some(_) if trains => Some([
                buffer("average parameters", self.params.bytes)?,
                buffer("average states", self.states.bytes)?,
            ]),
            _ => None,
        };
        self.norms = match rule.needs_norms() && trains {
            true => {
                let count = segments.all.len() as u64;
                let list = buffer("segments", SEGMENT_BYTES * count)?;
                gpu.write(&list, 0, &segments.all);
                Some([list, buffer("squares", 8 * count)?, buffer("norm", NORM_BYTES)?])
            }
            false => None,
        };
        Ok(())
    }

    /// Adds the memory that several shards need, or gives it back; without effect where
    /// there is no training.
    ///
    /// # Errors
    /// Where the device has too little memory.
    pub fn divide(&mut self, gpu: &Gpu, several: bool) -> Result<(), GpuError> {
        self.shards = match several && self.training.is_some() {
            true => Some([
                gpu.buffer("sum of gradients", self.params.bytes)?,
                gpu.buffer("running states before shards", self.states.bytes.max(16))?,
                gpu.buffer("mean running states", self.states.bytes.max(16))?,
            ]),
            false => None,
        };
        Ok(())
    }

    /// Bytes of the memory that [`Self::divide`] adds for several shards.
    pub fn shard_bytes(&self) -> u64 {
        self.params.bytes + 2 * self.states.bytes.max(16)
    }

    /// The arenas of several shards, where there are any.
    pub(super) fn shard_arenas(&self) -> Option<ShardArenas> {
        let [gradients, _] = self.training.as_ref()?;
        let [sum, before, mean] = self.shards.as_ref()?;
        let of_params = |buffer| Binding::new(buffer, 0, self.params.bytes);
        let of_states = |buffer| Binding::new(buffer, 0, self.states.bytes);
        Some(ShardArenas {
            gradients: of_params(gradients),
            sum: of_params(sum),
            states: of_states(&self.state_buffer),
            before: of_states(before),
            mean: of_states(mean),
        })
    }

    /// Bytes of the memory that [`Self::follow`] and [`Self::divide`] added.
    pub fn added(&self) -> u64 {
        let buffers = self.second.iter().chain(self.averages.iter().flatten());
        buffers
            .chain(self.norms.iter().flatten())
            .chain(self.shards.iter().flatten())
            .map(|buffer| buffer.size())
            .sum()
    }

    /// The tensors of the arena of parameters, in the order of memory. LARS adapts those
    /// that are weights of a convolution or linear layer.
    pub fn tensors(&self, graph: &Graph) -> Vec<ArenaTensor> {
        let tensor = |(range, param): (&Range<u64>, &Param)| ArenaTensor {
            range: range.clone(),
            decays: range.start < self.decayed,
            adapts: param.kind.is_weight(),
        };
        let mut tensors: Vec<ArenaTensor> = self.params.ranges.iter().zip(&graph.params).map(tensor).collect();
        tensors.sort_by_key(|tensor| tensor.range.start);
        tensors
    }

    /// The memory of an operand of an update ([`operand`]).
    pub fn operand(&self, wanted: Operand) -> Option<Binding> {
        let arenas = self.arenas()?;
        let norms = |index: usize| Some(Binding::whole(&self.norms.as_ref()?[index]));
        match wanted {
            operand::PARAMS => Some(arenas[0].clone()),
            operand::GRADS => Some(arenas[1].clone()),
            operand::MOMENTA => Some(arenas[2].clone()),
            operand::SECOND => Some(Binding::whole(self.second.as_ref()?)),
            operand::SEGMENTS => norms(0),
            operand::SQUARES => norms(1),
            operand::NORM => norms(2),
            Operand::LossScale => self.loss_scale(),
            _ => None,
        }
    }

    /// Parameters and running statistics, each with its average and the bytes of both;
    /// empty without averages.
    pub fn averaged(&self) -> Vec<([Binding; 2], u64)> {
        let Some([params, states]) = &self.averages else {
            return Vec::new();
        };
        let pair = |values: &Arc<Buffer>, averages: &Arc<Buffer>, bytes: u64| {
            ([values, averages].map(|buffer| Binding::new(buffer, 0, bytes)), bytes)
        };
        let pairs = [
            pair(&self.param_buffer, params, self.params.bytes),
            pair(&self.state_buffer, states, self.states.bytes),
        ];
        pairs.into_iter().filter(|(_, bytes)| *bytes > 0).collect()
    }

    /// The averages become the present parameters and running statistics.
    pub fn start_average(&self, gpu: &Gpu) {
        if self.averages.is_none() {
            return;
        }
        gpu.submit(|recorder| {
            for ([values, averages], _) in self.averaged() {
                recorder.copy(&values, &averages);
            }
        });
    }

    /// The memory of `slot`, where there is one.
    pub fn slot(&self, slot: Slot) -> Option<Binding> {
        let param = |buffer, id: ParamId| bind(buffer, &self.params.ranges[id.0]);
        Some(match slot {
            Slot::Param(id) => self.param(id),
            Slot::Momentum(id) => self.momentum(id)?,
            Slot::Second(id) => param(self.second.as_ref()?, id),
            Slot::Average(id) => param(&self.averages.as_ref()?[0], id),
            Slot::State(id) => self.state(id),
            Slot::AverageState(id) => bind(&self.averages.as_ref()?[1], &self.states.ranges[id.0]),
        })
    }

    /// Bytes of one arena of parameters.
    pub fn bytes(&self) -> u64 {
        self.params.bytes
    }

    /// Bytes of the parameters with weight decay.
    pub fn decayed(&self) -> u64 {
        self.decayed
    }

    /// The memory of a parameter.
    pub fn param(&self, id: ParamId) -> Binding {
        bind(&self.param_buffer, &self.params.ranges[id.0])
    }

    /// The memory of its gradient, where there is training.
    pub fn gradient(&self, id: ParamId) -> Option<Binding> {
        let [gradients, _] = self.training.as_ref()?;
        Some(bind(gradients, &self.params.ranges[id.0]))
    }

    /// The memory of its momentum, where there is training.
    pub fn momentum(&self, id: ParamId) -> Option<Binding> {
        let [_, momenta] = self.training.as_ref()?;
        Some(bind(momenta, &self.params.ranges[id.0]))
    }

    /// The memory of the loss scale, where there is one.
    pub fn loss_scale(&self) -> Option<Binding> {
        let buffer = self.loss_scale.as_ref()?;
        Some(Binding::new(buffer, 0, LOSS_SCALE_BYTES))
    }

    /// The memory of running statistics.
    pub fn state(&self, id: StateId) -> Binding {
        bind(&self.state_buffer, &self.states.ranges[id.0])
    }

    /// Copies the present parameters and running statistics, for
    /// [`Self::arrange`] to copy from.
    ///
    /// # Errors
    /// Where the device has too little memory.
    pub fn save_originals(&mut self, gpu: &Gpu) -> Result<(), GpuError> {
        if self.originals.is_none() {
            let params = gpu.buffer("original parameters", self.params.bytes)?;
            let states = gpu.buffer("original running states", self.states.bytes.max(4))?;
            self.originals = Some([params, states]);
        }
        if let Some([params, states]) = &self.originals {
            gpu.submit(|recorder| {
                recorder.copy(&Binding::whole(&self.param_buffer), &Binding::whole(params));
                recorder.copy(&Binding::whole(&self.state_buffer), &Binding::whole(states));
            });
        }
        Ok(())
    }

    /// Copies the original values to the places that `sources` names. `now`
    /// names the places in which they lie before that, so that only
    /// differences are copied.
    pub fn arrange(&self, sources: &Sources, now: &Sources, recorder: &mut Recorder) {
        let Some([params, states]) = &self.originals else {
            return;
        };
        for (to, (from, now)) in sources.params.iter().zip(&now.params).enumerate() {
            if from != now {
                recorder.copy(&bind(params, &self.params.ranges[from.0]), &self.param(ParamId(to)));
            }
        }
        for (to, (from, now)) in sources.states.iter().zip(&now.states).enumerate() {
            if from != now {
                recorder.copy(&bind(states, &self.states.ranges[from.0]), &self.state(StateId(to)));
            }
        }
    }

    /// The arenas of parameters, gradients and momenta, whole.
    pub fn arenas(&self) -> Option<[Binding; 3]> {
        let [gradients, momenta] = self.training.as_ref()?;
        let whole = |buffer| Binding::new(buffer, 0, self.params.bytes);
        Some([whole(&self.param_buffer), whole(gradients), whole(momenta)])
    }
}

fn bind(buffer: &Arc<Buffer>, range: &Range<u64>) -> Binding {
    Binding::new(buffer, range.start, range.end - range.start)
}
