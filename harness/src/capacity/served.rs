//! The server that a manifest starts on a stack, predicted: what `validate` holds its start-up against.

use std::collections::BTreeMap;

use super::{
    estimate::Estimate,
    predict::{Demand, Prediction},
    settings::{CPU_KV_CACHE, Known, Layout, Settings},
    shape::Shape,
};
use crate::{
    manifest::{Accelerator, Card, Dtype, Manifest, Stack, Target},
    record::MemoryFigures,
};

/// A server before it is started.
#[derive(Debug, Clone)]
pub struct Served<'a> {
    shape: Shape,
    card: Option<&'a Card>,
    settings: Settings,
    layout: Layout,
}

impl<'a> Served<'a> {
    /// The server of a manifest on a stack, the card of which is `card`; `Err` says why nothing can be predicted.
    pub fn of(
        manifest: &Manifest,
        stack: &Stack,
        card: Option<&'a Card>,
        dtype: Dtype,
    ) -> Result<Self, String> {
        if matches!(stack.target(), Some(Target::Endpoint(_))) {
            return Err("the server ran before: its settings are its own".to_owned());
        }
        let settings = Settings::served(manifest, stack, dtype)?;
        let is_cpu = stack.accelerator == Accelerator::Cpu;
        if is_cpu && settings.kv_cache_gib.is_none() {
            return Err(format!(
                "the stack does not set {CPU_KV_CACHE}, from which the CPU's KV cache follows"
            ));
        }
        if !is_cpu && card.is_none() {
            return Err(format!(
                "there is no card ci/cards/{}.yaml",
                stack.accelerator.as_str()
            ));
        }
        let served = Self {
            shape: Shape::of_manifest(&manifest.model.architecture),
            card: card.filter(|_| !is_cpu),
            settings,
            layout: Layout {
                tensor_parallel: u64::from(manifest.serve.tensor_parallel),
                pipeline_parallel: u64::from(manifest.serve.pipeline_parallel),
            },
        };
        served.shape.parameters().map_err(|error| error.to_string())?;
        Ok(served)
    }

    /// The prediction, with what is known of the running server in place of estimates.
    pub fn predict(&self, known: Known) -> Result<Prediction, String> {
        let settings = Settings {
            known,
            ..self.settings.clone()
        };
        let demand = Demand::new(&self.shape, self.card, &settings).map_err(|error| error.to_string())?;
        Ok(demand.predict(self.layout))
    }
}

impl Prediction {
    /// The figures in the form of a start-up's, estimates with their error.
    pub fn figures(&self) -> MemoryFigures {
        let gib = |estimate: Option<Estimate>| estimate.map(|estimate| estimate.gib);
        let why: BTreeMap<String, String> = [
            ("non_torch_gib", self.non_torch),
            ("activation_gib", self.activation),
            ("graph_gib", self.graph),
        ]
        .into_iter()
        .filter_map(|(key, estimate)| Some((key, estimate?)))
        .filter(|(_, estimate)| estimate.error_gib > 0.0)
        .map(|(key, estimate)| {
            (
                key.to_owned(),
                format!("estimated, ± {:.2} GiB", estimate.error_gib),
            )
        })
        .collect();
        MemoryFigures {
            weights_gib: Some(self.weights_gib),
            non_torch_gib: gib(self.non_torch),
            activation_gib: gib(self.activation),
            graph_gib: gib(self.graph),
            kv_cache_gib: Some(self.kv_cache_gib),
            num_blocks: Some(self.num_blocks),
            kv_tokens: Some(self.kv_tokens),
            max_concurrency: Some(self.max_concurrency),
            why,
        }
    }
}
