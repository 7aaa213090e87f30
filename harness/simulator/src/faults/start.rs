//! Ways in which a start fails, by name.

/// Why a server did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFailure {
    /// Another process holds the card's memory.
    NotEnoughFree,
    /// Nothing is left for keys and values.
    NoKvRoom,
    /// One sequence of full length does not fit.
    LengthTooLarge,
    /// Out of memory in the sampler's warm-up.
    OomWarmup,
    /// Memory changed while it was profiled.
    ProfilingDisturbed,
    /// Longer than the positions allow.
    LengthAboveConfig,
    /// No such architecture.
    UnsupportedArchitecture,
    /// The architecture was removed.
    RemovedArchitecture,
    /// Remote code was not allowed.
    RemoteCode,
    /// No such folder or repository.
    BadPath,
    /// No weights in the folder.
    MissingWeights,
    /// The checkpoint lacks tensors.
    UninitializedWeights,
    /// BF16 on a card without it.
    Dtype,
    /// The collective library failed.
    Nccl,
    /// A worker died.
    WorkerDied,
    /// The engine core took too long.
    SlowStart,
    /// A Python module is missing.
    MissingModule,
    /// `MACA_PATH` is not set.
    MacaPath,
    /// The driver cannot allocate a ring buffer.
    RingBuffer,
    /// The tokenizer is too old for its library.
    Tokenizer,
    /// A flag that this release does not know.
    UnknownFlag,
    /// The port is taken.
    PortTaken,
    /// Killed by the kernel, without a word.
    Killed,
    /// A kernel on the card failed.
    KernelFault,
    /// No attention backend serves the model.
    NoAttentionBackend,
}

impl StartFailure {
    /// Names and values of all classes.
    pub const ALL: [(&'static str, Self); 25] = [
        ("not_enough_free", Self::NotEnoughFree),
        ("no_kv_room", Self::NoKvRoom),
        ("length_too_large", Self::LengthTooLarge),
        ("oom_warmup", Self::OomWarmup),
        ("profiling_disturbed", Self::ProfilingDisturbed),
        ("length_above_config", Self::LengthAboveConfig),
        ("unsupported_architecture", Self::UnsupportedArchitecture),
        ("removed_architecture", Self::RemovedArchitecture),
        ("remote_code", Self::RemoteCode),
        ("bad_path", Self::BadPath),
        ("missing_weights", Self::MissingWeights),
        ("uninitialized_weights", Self::UninitializedWeights),
        ("dtype", Self::Dtype),
        ("nccl", Self::Nccl),
        ("worker_died", Self::WorkerDied),
        ("slow_start", Self::SlowStart),
        ("missing_module", Self::MissingModule),
        ("maca_path", Self::MacaPath),
        ("ring_buffer", Self::RingBuffer),
        ("tokenizer", Self::Tokenizer),
        ("unknown_flag", Self::UnknownFlag),
        ("port_taken", Self::PortTaken),
        ("killed", Self::Killed),
        ("kernel_fault", Self::KernelFault),
        ("no_attention_backend", Self::NoAttentionBackend),
    ];
}
