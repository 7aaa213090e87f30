//! Cards: figures that something is divided by must not be 0.

use super::Document;
use crate::manifest::diagnostics::Diagnostic;

/// Checks a card.
pub(in crate::manifest) fn card(document: &Document, problems: &mut Vec<Diagnostic>) {
    for name in ["memory_gib", "bandwidth_gb_per_s", "tflops_16bit"] {
        let place = format!("/{name}/value");
        if document.read::<f64>(&place) == Some(0.0) {
            let nothing = document.wrong(&place, format!("a card whose `{name}` is 0 computes nothing"));
            problems.push(nothing.help("write the figure as the data sheet or a measurement gives it"));
        }
    }
}
