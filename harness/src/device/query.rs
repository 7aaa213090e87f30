//! Asking the tools of this host. Only [`Invocation`]s are run, with a deadline, in a process group of their own that
//! is killed when it passes: a driver that hangs must not hang the harness.

use std::{
    env,
    io::Read,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::{
    host::{self, HostTraces},
    invocation::Invocation,
    mx_smi::{self, MxSmiError},
    nvidia_smi::{self, NvidiaSmiError},
    report::{Card, DeviceReport},
};

/// How long a tool may take. mx-smi wakes sleeping cards one after another.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why a host's cards are not known.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No tool and no card.
    #[error("no cards found: looked for {}", looked_for.join(", "))]
    NoCards {
        /// Where.
        looked_for: Vec<String>,
    },
    /// A tool cannot be run.
    #[error("cannot run {}: {source}", tool.display())]
    Run {
        /// The tool.
        tool: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A tool did not end.
    #[error("{} did not answer within {} s: is the driver well (see dmesg)?", tool.display(), deadline.as_secs())]
    Deadline {
        /// The tool.
        tool: PathBuf,
        /// How long it had.
        deadline: Duration,
    },
    /// A tool failed.
    #[error("{} failed ({status}): {output}", tool.display())]
    Failed {
        /// The tool.
        tool: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote.
        output: String,
    },
    /// mx-smi wrote something else than it should.
    #[error("cannot read the output of mx-smi: {0}")]
    MxSmi(#[from] MxSmiError),
    /// nvidia-smi wrote something else than it should.
    #[error("cannot read the output of nvidia-smi: {0}")]
    NvidiaSmi(#[from] NvidiaSmiError),
}

/// The tools of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    root: PathBuf,
    deadline: Duration,
    mx_smi: Option<PathBuf>,
    nvidia_smi: Option<PathBuf>,
}

/// The cards of this host, from mx-smi, else nvidia-smi, else what the kernel says.
pub fn current() -> Result<DeviceReport, QueryError> {
    Tools::find().report()
}

impl Tools {
    /// The tools of this host.
    pub fn find() -> Self {
        Self::find_in(Path::new("/"), &env::var_os("PATH").unwrap_or_default())
    }

    /// The tools of the file system below `root`, and of the folders in `path`.
    pub fn find_in(root: &Path, path: &std::ffi::OsStr) -> Self {
        let on_path = |name: &str| {
            env::split_paths(path)
                .map(|folder| folder.join(name))
                .find(|tool| tool.is_file())
        };
        let installed = host::mx_smi_places(root).into_iter().find(|tool| tool.is_file());
        Self {
            root: root.to_owned(),
            deadline: DEADLINE,
            mx_smi: installed.or_else(|| on_path("mx-smi")),
            nvidia_smi: on_path("nvidia-smi"),
        }
    }

    /// The same tools with another deadline for each call.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// mx-smi, where it is installed.
    pub fn mx_smi(&self) -> Option<&Path> {
        self.mx_smi.as_deref()
    }

    /// Everything that is asked before a run: the table, ids and hidden cards, memory errors, and links.
    pub fn report(&self) -> Result<DeviceReport, QueryError> {
        let traces = HostTraces::read(&self.root);
        let mut report = self.figures()?.map_or_else(|| self.kernel_report(&traces), Ok)?;
        if self.mx_smi.is_some() {
            for further in [Invocation::List, Invocation::EccCounts, Invocation::Topology] {
                match self.mx_smi_report(further) {
                    Ok(found) => report.absorb(found),
                    // Older versions lack some options: the figures are whole without them.
                    Err(error) => report.remarks.push(error.to_string()),
                }
            }
            traces.complete(&mut report);
        }
        Ok(report)
    }

    /// What changes during a run: memory, power, temperature and utilization. `None` where there is no tool.
    pub fn figures(&self) -> Result<Option<DeviceReport>, QueryError> {
        if self.mx_smi.is_some() {
            return self.mx_smi_report(Invocation::Summary).map(Some);
        }
        let Some(tool) = &self.nvidia_smi else {
            return Ok(None);
        };
        Ok(Some(nvidia_smi::parse(
            &self.run(tool, Invocation::NvidiaQuery)?,
        )?))
    }

    /// What mx-smi answers to one call.
    pub fn mx_smi_report(&self, invocation: Invocation) -> Result<DeviceReport, QueryError> {
        let Some(tool) = &self.mx_smi else {
            return Err(QueryError::NoCards {
                looked_for: self.looked_for(),
            });
        };
        Ok(mx_smi::parse_any(&self.run(tool, invocation)?)?)
    }

    /// Without a tool only the addresses of the cards are known.
    fn kernel_report(&self, traces: &HostTraces) -> Result<DeviceReport, QueryError> {
        if traces.pci_cards.is_empty() {
            return Err(QueryError::NoCards {
                looked_for: self.looked_for(),
            });
        }
        let mut report = DeviceReport::default();
        for (index, bus_id) in (0..).zip(&traces.pci_cards) {
            report.cards.push(Card {
                index,
                bus_id: Some(bus_id.clone()),
                ..Card::default()
            });
        }
        let remark =
            "mx-smi is not installed: these are the kernel's PCI devices, in the order of their addresses";
        report.remarks.push(remark.to_owned());
        traces.complete(&mut report);
        Ok(report)
    }

    fn looked_for(&self) -> Vec<String> {
        let places = host::mx_smi_places(&self.root).map(|place| place.display().to_string());
        let further = [
            "mx-smi and nvidia-smi on the PATH",
            "PCI devices of vendor 0x9999",
        ];
        places.into_iter().chain(further.map(str::to_owned)).collect()
    }

    fn run(&self, tool: &Path, invocation: Invocation) -> Result<String, QueryError> {
        let error = |source| QueryError::Run {
            tool: tool.to_owned(),
            source,
        };
        let mut child = Command::new(tool)
            .args(invocation.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(error)?;
        let group = i32::try_from(child.id()).map(Pid::from_raw);
        let (output, errors) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let (sender, ended) = mpsc::channel();
        let waiter = thread::spawn(move || sender.send(child.wait()));
        let Ok(status) = ended.recv_timeout(self.deadline) else {
            if let Ok(group) = group {
                // It may have ended at this very moment; then there is nothing to kill.
                killpg(group, Signal::SIGKILL).ok();
            }
            drop(waiter.join());
            return Err(QueryError::Deadline {
                tool: tool.to_owned(),
                deadline: self.deadline,
            });
        };
        // A process that the tool left behind may hold its pipes open: the tool's own words are there by then.
        let read = |pipe: mpsc::Receiver<String>| pipe.recv_timeout(self.deadline).unwrap_or_default();
        let (output, errors) = (read(output), read(errors));
        let status = status.map_err(error)?;
        if status.success() {
            return Ok(output);
        }
        let lines: Vec<&str> = output
            .lines()
            .chain(errors.lines())
            .filter(|line| !line.trim().is_empty())
            .collect();
        let output = lines[lines.len().saturating_sub(5)..].join("; ");
        Err(QueryError::Failed {
            tool: tool.to_owned(),
            status,
            output,
        })
    }
}

/// Reads a pipe to its end on a thread of its own, so that a full pipe never stops the tool.
fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What came before an error is still shown.
            drop(pipe.read_to_end(&mut bytes));
        }
        sender.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    receiver
}
