//! Which layer did it? Two stacks that differ in several layers are joined by a chain of stacks that change one layer
//! at a time, from the metal upwards; the step at which the verdict turns names the layer.

use crate::manifest::{LoadedStack, Stack};

use super::Layer;

/// One step of the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The layer that this step changes; `None` for the baseline itself.
    pub layer: Option<Layer>,
    /// The stack after it.
    pub stack: LoadedStack,
}

/// The chain, from the baseline to the candidate, and what no chain on this host can separate.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// Its steps, the baseline first.
    pub steps: Vec<Step>,
    /// Layers that differ by what the stacks promise of the host: one host has one driver.
    pub fixed: Vec<Layer>,
}

/// A layer that a stack file alone decides: what to take over for it.
type Change = fn(&mut Stack, &Stack);

/// Layers in the order in which they are changed. vLLM comes in its image, with torch and MACA beside it.
const CHANGES: [(Layer, Change); 3] = [
    (Layer::Vllm, |mixed, candidate| {
        mixed.vllm.clone_from(&candidate.vllm);
        mixed.expect.torch.clone_from(&candidate.expect.torch);
        mixed.docker.clone_from(&candidate.docker);
        mixed.process.clone_from(&candidate.process);
        mixed.endpoint.clone_from(&candidate.endpoint);
        mixed.simulator.clone_from(&candidate.simulator);
    }),
    (Layer::Settings, |mixed, candidate| {
        mixed.args.clone_from(&candidate.args);
        mixed.env.clone_from(&candidate.env);
    }),
    (Layer::Model, |mixed, candidate| mixed.dtype = candidate.dtype),
];

/// The chain between two stacks.
pub fn chain(baseline: &LoadedStack, candidate: &LoadedStack) -> Chain {
    let mut steps = vec![Step {
        layer: None,
        stack: baseline.clone(),
    }];
    let mut mixed = baseline.clone();
    for (layer, change) in CHANGES {
        let before = mixed.stack.clone();
        change(&mut mixed.stack, &candidate.stack);
        if mixed.stack != before {
            mixed.name = format!("{}+{}", mixed.name, layer);
            steps.push(Step {
                layer: Some(layer),
                stack: mixed.clone(),
            });
        }
    }
    let (old, new) = (&baseline.stack.expect, &candidate.stack.expect);
    let promises = [
        (Layer::Cards, old.bios == new.bios),
        (Layer::Driver, old.driver == new.driver && old.smi == new.smi),
        (Layer::Maca, old.maca == new.maca),
    ];
    let fixed: Vec<Layer> = promises
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(layer, _)| layer)
        .collect();
    // The last step is the candidate itself, under its own name and with its own promises.
    if let Some(last) = steps.last_mut().filter(|last| last.layer.is_some()) {
        last.stack = candidate.clone();
    }
    Chain { steps, fixed }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn stack(name: &str, yaml: &str) -> LoadedStack {
        LoadedStack {
            name: name.to_owned(),
            path: PathBuf::from(format!("{name}.yaml")),
            stack: serde_yaml::from_str(yaml).unwrap(),
            card: None,
        }
    }

    fn layers(chain: &Chain) -> Vec<Option<Layer>> {
        chain.steps.iter().map(|step| step.layer).collect()
    }

    #[test]
    fn each_step_changes_one_layer_and_the_last_is_the_candidate() {
        let old = stack(
            "old",
            "{schema: 1, about: a, accelerator: c500, vllm: 0.8.5, expect: {driver: 3.0.11}, docker: {image: i:1}}",
        );
        let new = stack(
            "new",
            "{schema: 1, about: b, accelerator: c500, vllm: 0.12.0, expect: {driver: 3.1.0}, args: [--enforce-eager], \
             dtype: float32, docker: {image: i:2}}",
        );
        let chain = chain(&old, &new);
        assert_eq!(
            layers(&chain),
            [None, Some(Layer::Vllm), Some(Layer::Settings), Some(Layer::Model)]
        );
        assert_eq!(chain.fixed, [Layer::Driver]);
        let first = &chain.steps[1].stack;
        assert_eq!(
            (first.name.as_str(), first.stack.vllm.as_str()),
            ("old+vLLM", "0.12.0")
        );
        assert!(first.stack.args.is_empty() && first.stack.dtype.is_none());
        assert_eq!(chain.steps[3].stack, new);
    }

    #[test]
    fn equal_stacks_have_nothing_to_attribute() {
        let old = stack(
            "old",
            "{schema: 1, about: a, accelerator: cpu, vllm: 0.8.5, docker: {image: i:1}}",
        );
        let chain = chain(
            &old,
            &LoadedStack {
                name: "other".into(),
                ..old.clone()
            },
        );
        assert_eq!(layers(&chain), [None]);
        assert!(chain.fixed.is_empty());
    }
}
