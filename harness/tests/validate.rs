//! The trials of every manifest as libtest sees them: `cargo test -p harness --test validate -- qwen3_32b`, with
//! libtest's flags and `--list`. The simulator plays the accelerator, and the output says so first.
//!
//! nextest starts a process for each test, and each would boot a server of its own; there every trial is skipped and
//! says so.

use std::{
    env,
    error::Error,
    io::{self, Write},
    path::Path,
    process::{Command, ExitCode},
    sync::Arc,
};

use harness::{
    manifest::Catalogue,
    record::Entry,
    report::{Display, Style, live::Mode},
    run::{self, Filter, Options, Plan, Selection},
};
use libtest_mimic::{Arguments, Completion, Trial};

/// The stack of these trials.
const STACK: &str = "simulator_c500";
/// Why trials are skipped under nextest.
const UNDER_NEXTEST: &str =
    "under nextest each trial would boot a server: use `cargo xtask validate` or `cargo test`";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let libtest = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let selections = selections(&root)?;
    if libtest.list {
        run::list(&run::plan(&selections, &Filter::default()), &libtest);
        return Ok(ExitCode::SUCCESS);
    }
    let filter = Filter {
        wanted: libtest.filter.clone(),
        unwanted: libtest.skip.clone(),
        exact: libtest.exact,
    };
    let plan = run::plan(&selections, &filter);
    if plan.sessions.is_empty() {
        return Ok(libtest_mimic::run(&libtest, Vec::new()).exit_code());
    }
    if env::var_os("NEXTEST").is_some() {
        return Ok(libtest_mimic::run(&libtest, skipped(&plan)).exit_code());
    }
    build_simulator(&root)?;
    writeln!(
        io::stderr(),
        "SIMULATED: {STACK} plays the hardware; nothing here is measured on hardware"
    )?;
    let style = Style {
        colour: false,
        width: 100,
    };
    let mut display = Display::on_stderr(Mode::Quiet, style);
    let command = env::args().collect();
    let options = Options {
        root,
        out: None,
        command,
        libtest,
    };
    let finished = run::validate(
        &plan,
        options,
        Box::new(move |entry: &Entry| display.entry(entry)),
    )?;
    Ok(finished.exit.into())
}

/// Every model that has budgets on the played card: the others' figures there have nothing to be held against.
fn selections(root: &Path) -> Result<Vec<Selection>, Box<dyn Error>> {
    let catalogue = Catalogue::open(root);
    let stack = Arc::new(catalogue.stack(STACK)?);
    let mut selections = Vec::new();
    for name in catalogue.model_names() {
        let model = Arc::new(catalogue.model(&name)?);
        if model.manifest.budgets.on(stack.stack.accelerator).is_none() {
            writeln!(
                io::stderr(),
                "left out: {name} has no budgets on the card that {STACK} plays"
            )?;
            continue;
        }
        let stack = Arc::clone(&stack);
        selections.push(Selection {
            model,
            stack,
            dtype: None,
        });
    }
    Ok(selections)
}

fn skipped(plan: &Plan) -> Vec<Trial> {
    let trials = plan.sessions.iter().flat_map(|session| &session.trials);
    let skip = || Ok(Completion::ignored_with(UNDER_NEXTEST));
    trials
        .map(|trial| Trial::ignorable_test(&trial.name, skip))
        .collect()
}

/// `cargo test -p harness` does not build another package's program.
fn build_simulator(root: &Path) -> Result<(), Box<dyn Error>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(root)
        .args(["build", "--quiet", "--package", "simulator"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    if command.status()?.success() {
        Ok(())
    } else {
        Err("the simulator does not build".into())
    }
}
