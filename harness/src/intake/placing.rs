//! How many cards of the C500 a model needs, on every stack that has them.

use crate::{
    capacity::{Demand, Layout, Obstacle, Settings},
    manifest::{Accelerator, Card, Catalogue, Diagnostic, Diagnostics, LoadedStack, Manifest, Target},
};

use super::subject::Subject;

/// Where a model is placed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    /// Its layout, which fits on each of `stacks`.
    pub(super) layout: Layout,
    /// Weights of the fullest card, GiB.
    pub(super) weights_gib: f64,
    /// Names of the stacks, hardware first.
    pub(super) stacks: Vec<String>,
    /// Cards of one host.
    pub(super) cards_per_host: u64,
    /// What differs from what was wished, or from other stacks.
    pub(super) remarks: Vec<String>,
}

/// Places the model of a manifest whose layout is still open. A wished layout that does not fit gives way to the
/// fewest cards that do.
pub(super) fn place(
    catalogue: &Catalogue,
    subject: &Subject,
    manifest: &Manifest,
    wished: Option<Layout>,
) -> Result<Placed, Diagnostics> {
    let (hardware, simulators) = stacks(catalogue)?;
    let card = catalogue.card(Accelerator::C500.as_str())?.card;
    let mut found: Vec<(Layout, f64)> = Vec::new();
    let (mut names, mut remarks) = (Vec::new(), Vec::new());
    let (mut refusal, mut refused_wish) = (None, None);
    for stack in &hardware {
        let settings = settings(subject, manifest, stack)?;
        let demand = demand(subject, &card, &settings)?;
        match on_stack(&demand, wished) {
            Ok((layout, weights, remark)) => {
                found.push((layout, weights));
                names.push(stack.name.clone());
                // Each version shares memory out differently; one reason suffices.
                refused_wish = refused_wish.or(remark);
            }
            Err(obstacle) => {
                let reason = obstacle.map_or_else(|| "no layout is known".to_owned(), |one| one.to_string());
                remarks.push(format!("no layout fits on {}: {reason}", stack.name));
                refusal = Some(reason);
            }
        }
    }
    let Some((layout, weights_gib)) = found.into_iter().max_by_key(|(layout, _)| layout.cards()) else {
        let class = &subject.architecture.class;
        return Err(match refusal {
            Some(reason) => Diagnostic::error(format!(
                "no usual layout of the {} holds this {class}: {reason}",
                card.name
            ))
            .help("see `harness capacity --config` for each layout; serve it in another type, or shorter"),
            None => Diagnostic::error("there is no stack with the C500 in ci/stacks")
                .help("add one, or name the repository with --root"),
        }
        .into());
    };
    remarks.extend(refused_wish);
    names.extend(simulators.into_iter().map(|stack| stack.name));
    Ok(Placed {
        layout,
        weights_gib,
        stacks: names,
        cards_per_host: u64::from(card.cards_per_host),
        remarks,
    })
}

/// The C500's stacks: hardware by version, and simulators.
fn stacks(catalogue: &Catalogue) -> Result<(Vec<LoadedStack>, Vec<LoadedStack>), Diagnostics> {
    let mut all = Vec::new();
    for name in catalogue.stack_names() {
        all.push(catalogue.stack(&name)?);
    }
    all.retain(|stack| stack.stack.accelerator == Accelerator::C500);
    let (simulators, mut hardware): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|stack| matches!(stack.stack.target(), Some(Target::Simulator(_))));
    hardware.sort_by_key(|stack| semver::Version::parse(&stack.stack.vllm).ok());
    Ok((hardware, simulators))
}

fn settings(subject: &Subject, manifest: &Manifest, stack: &LoadedStack) -> Result<Settings, Diagnostics> {
    let unfit = |cause: String| {
        Diagnostics::from(Diagnostic::error(format!(
            "the arguments do not fit the stack {}: {cause}",
            stack.name
        )))
    };
    let mut settings = Settings::served(manifest, &stack.stack, manifest.serve.dtype).map_err(unfit)?;
    settings.quantization = settings.quantization.or(subject.quantization);
    Ok(settings)
}

fn demand<'a>(
    subject: &'a Subject,
    card: &'a Card,
    settings: &'a Settings,
) -> Result<Demand<'a>, Diagnostics> {
    Demand::new(&subject.shape, Some(card), settings)
        .map_err(|error| Diagnostic::error(error.to_string()).into())
}

/// The layout on one stack, weights of its fullest card, and why the wished one was not taken. `Err`: what keeps the
/// largest layout from serving.
fn on_stack(
    demand: &Demand<'_>,
    wished: Option<Layout>,
) -> Result<(Layout, f64, Option<String>), Option<Obstacle>> {
    let refused = match wished {
        None => None,
        Some(layout) => {
            let prediction = demand.predict(layout);
            let Some(obstacle) = prediction.obstacle else {
                return Ok((layout, prediction.weights_gib, None));
            };
            Some((layout, obstacle))
        }
    };
    let Some(smallest) = demand.smallest() else {
        let largest = demand.layouts().into_iter().next_back();
        return Err(largest.and_then(|layout| demand.predict(layout).obstacle));
    };
    let remark = refused.map(|(layout, obstacle)| {
        format!(
            "tensor parallel {} and pipeline parallel {} do not serve it on the C500 ({obstacle}); the fewest cards that do are written instead",
            layout.tensor_parallel, layout.pipeline_parallel
        )
    });
    Ok((smallest.layout, smallest.weights_gib, remark))
}
