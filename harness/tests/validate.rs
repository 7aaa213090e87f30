//! The trials of every manifest as libtest sees them: `cargo test -p harness --test validate -- qwen3_32b`, with
//! libtest's flags and `--list`. On a host without an accelerator the simulator plays it, and the output says so.
//!
//! nextest starts a process for each test, and each would boot a server of its own; there every trial is skipped and
//! says so.

use std::{env, path::Path, process::Command, process::ExitCode, sync::Arc};

use harness::{
    manifest::Catalogue,
    record::Entry,
    report::{Display, Style, live::Mode},
    run::{self, Filter, Options, Selection},
};
use libtest_mimic::{Arguments, Completion, Trial};

/// Why trials are skipped under nextest.
const UNDER_NEXTEST: &str =
    "under nextest each trial would boot a server: use `cargo xtask validate` or `cargo test`";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the repository");
    let catalogue = Catalogue::open(root);
    let stack = Arc::new(
        catalogue
            .stack("simulator_c500")
            .expect("the simulator's stack is right"),
    );
    let selections: Vec<Selection> = catalogue
        .model_names()
        .iter()
        .map(|name| {
            let model = catalogue
                .model(name)
                .unwrap_or_else(|found| panic!("{}", found.render(false)));
            Selection {
                model: Arc::new(model),
                stack: Arc::clone(&stack),
            }
        })
        .collect();
    let filter = Filter {
        wanted: arguments.filter.clone(),
        unwanted: arguments.skip.clone(),
        exact: arguments.exact,
    };
    if arguments.list {
        run::list(&run::plan(&selections, &Filter::default()), &arguments);
        return ExitCode::SUCCESS;
    }
    let plan = run::plan(&selections, &filter);
    if env::var_os("NEXTEST").is_some() {
        let trials = plan.sessions.iter().flat_map(|session| &session.trials);
        let skipped = trials
            .map(|trial| Trial::ignorable_test(&trial.name, || Ok(Completion::ignored_with(UNDER_NEXTEST))));
        return libtest_mimic::run(&arguments, skipped.collect()).exit_code();
    }
    if plan.sessions.is_empty() {
        return libtest_mimic::run(&arguments, Vec::new()).exit_code();
    }
    build_simulator(root);
    let mut display = Display::on_stderr(
        Mode::Quiet,
        Style {
            colour: false,
            width: 100,
        },
    );
    let options = Options {
        root: root.to_owned(),
        out: None,
        command: env::args().collect(),
        libtest: arguments,
    };
    let finished = run::validate(
        &plan,
        options,
        Box::new(move |entry: &Entry| display.entry(entry)),
    );
    match finished {
        Ok(finished) => finished.exit.into(),
        Err(error) => panic!("{error}"),
    }
}

/// `cargo test -p harness` does not build another package's program.
fn build_simulator(root: &Path) {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(root)
        .args(["build", "--quiet", "--package", "simulator"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    assert!(
        command.status().expect("cargo starts").success(),
        "the simulator builds"
    );
}
