//! What the played server prints: records in the release's format, the boot, failures, requests, statistics.

mod boot;
mod config_lines;
mod failure;
mod memory_lines;
mod record;
mod routes;

pub use boot::{BootScript, Step, boot_script};
pub use failure::{
    ENGINE_DEAD, api_failure, death_script, engine_failure, fails_before_engine, loading_crash,
};
pub use record::{Level, Logger, Process};

/// Prints steps at once; waits are skipped.
pub fn print_steps(logger: &Logger, steps: &[Step]) {
    for step in steps {
        print_step(logger, step);
    }
}

/// Prints one step, if there is something to print.
pub fn print_step(logger: &Logger, step: &Step) {
    match step {
        Step::Wait(_) | Step::Listen => {}
        Step::Record(process, level, source, message) => logger.log(*process, *level, source, message),
        Step::Raw(process, text) => logger.raw(*process, text),
        Step::Progress(process, text) => logger.progress(*process, text),
    }
}
