//! What a run would start, without starting it: the equal command line of each session's server.

use std::path::PathBuf;

use super::{
    Plan, RunError, SessionPlan, prepare,
    session::Place,
    validate::{make_folder, run_id},
};
use crate::target;

/// What would be started for a session.
pub struct DryRun {
    /// Name of the session.
    pub session: String,
    /// Whether a simulator would play the server.
    pub simulated: bool,
    /// The command line, or why there is none.
    pub line: Result<String, String>,
    /// What was changed for this version of vLLM, and what must be known besides.
    pub notes: Vec<String>,
}

/// Gives the command line of each session of a plan. The files that the lines read are written to `out`; absent:
/// `target/validate/dry-run` below `root`, the repository.
pub fn dry_run(plan: &Plan, root: PathBuf, out: Option<PathBuf>) -> Result<Vec<DryRun>, RunError> {
    let folder = make_folder(&out.unwrap_or_else(|| root.join("target/validate/dry-run")))?;
    let place = Place {
        root,
        folder,
        run_id: run_id(),
    };
    Ok(plan
        .sessions
        .iter()
        .map(|session| of_session(&place, session))
        .collect())
}

fn of_session(place: &Place, session: &SessionPlan) -> DryRun {
    let prepared = prepare::prepare(place, session).map_err(|failed| failed.message);
    let notes = prepare::notes(session, prepared.as_ref().ok());
    let line = prepared.and_then(|prepared| {
        target::write_files(&prepared.launch(place, session)).map_err(|error| error.to_string())?;
        Ok(prepared.command_line)
    });
    DryRun {
        session: session.name.clone(),
        simulated: session.stack.stack.simulator.is_some(),
        line,
        notes,
    }
}
