//! The life of the process: boot, serve, die or stop.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::api::{App, AppParts, router};
use crate::args::ServeArgs;
use crate::clock::Clock;
use crate::config::BootingHealth;
use crate::engine::{Engine, Parts};
use crate::faults::{Fault, StartFailure};
use crate::language::{Answers, Language};
use crate::logs::{self, Logger, Step};
use crate::metrics::Metrics;
use crate::settings::{Doom, Settings};
use crate::tokenizer::Tokenizer;
use crate::truth::Truth;

/// Real time that a dead engine's server still answers.
const AFTER_DEATH: Duration = Duration::from_millis(300);
/// Real time that running answers get after a stop signal.
const GRACE: Duration = Duration::from_millis(500);

/// Why a server cannot be run at all; failures that a played server would have are not among these.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be resolved.
    #[error("cannot listen on {address}: {source}")]
    Address {
        /// Host and port.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// A thread or a signal handler cannot be had, or a file not be opened.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> ServerError {
    move |source| ServerError::System { what, source }
}

/// How the boot ended.
enum Boot {
    Ready,
    Failed(ExitCode),
}

/// Runs a server until it stops or dies; returns its exit status.
pub async fn run(args: ServeArgs, settings: Settings) -> Result<ExitCode, ServerError> {
    let server = Server::new(args, settings)?;
    server.run().await
}

struct Server {
    args: ServeArgs,
    app: Arc<App>,
    listening: Arc<Notify>,
}

impl Server {
    fn new(args: ServeArgs, settings: Settings) -> Result<Self, ServerError> {
        let settings = Arc::new(settings);
        let clock = Clock::start(args.config.clock);
        let tokenizer = Arc::new(Tokenizer::new(settings.model.vocab_size));
        let answers = Answers::new(&tokenizer, &settings.model, &args.config.answers);
        let language = Arc::new(Language::new(tokenizer, args.config.seed));
        let metrics = Arc::new(Metrics::new(settings.placement.max_model_len));
        let logger = Arc::new(Logger::new(&settings));
        let truth = Truth::open(args.truth.as_deref()).map_err(system("open the truth file"))?;
        let engine = Engine::start(Parts {
            settings: Arc::clone(&settings),
            language: Arc::clone(&language),
            metrics: Arc::clone(&metrics),
            logger: Arc::clone(&logger),
            clock,
            truth,
            faults: args.faults.clone(),
        })
        .map_err(system("start the engine's thread"))?;
        let app = App::new(AppParts {
            settings,
            language,
            answers,
            engine,
            metrics,
            logger,
            clock,
            seed: args.config.seed,
            faults: args.faults.clone(),
        });
        Ok(Self {
            args,
            app: Arc::new(app),
            listening: Arc::new(Notify::new()),
        })
    }

    async fn run(self) -> Result<ExitCode, ServerError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(system("handle SIGTERM"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system("handle SIGINT"))?;
        let socket = match self.bind() {
            Ok(socket) => socket,
            Err(source) if source.kind() == std::io::ErrorKind::AddrInUse => {
                return Ok(self.fail(&logs::api_failure(&self.app.settings, StartFailure::PortTaken)));
            }
            Err(source) => {
                let address = format!("{}:{}", self.app.settings.host, self.app.settings.port);
                return Err(ServerError::Address { address, source });
            }
        };
        let serving = tokio::spawn(serve(
            socket,
            Arc::clone(&self.app),
            Arc::clone(&self.listening),
            self.args.config.health_while_booting,
        ));
        let mut boot = std::pin::pin!(self.boot());
        let mut booted = false;
        let code = loop {
            tokio::select! {
                end = &mut boot, if !booted => match end {
                    Boot::Ready => booted = true,
                    Boot::Failed(code) => break code,
                },
                () = self.app.engine.died() => break self.after_death().await,
                _ = terminate.recv() => if !self.app.ignores_stop() { break self.stop().await },
                _ = interrupt.recv() => if !self.app.ignores_stop() { break self.stop().await },
            }
        };
        serving.abort();
        Ok(code)
    }

    /// Binds without listening, as uvicorn does: connections are refused until the model is ready.
    fn bind(&self) -> std::io::Result<tokio::net::TcpSocket> {
        let settings = &self.app.settings;
        let host = if settings.host == "localhost" {
            "127.0.0.1"
        } else {
            &settings.host
        };
        let ip: std::net::IpAddr = host
            .parse()
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
        let socket = if ip.is_ipv4() {
            tokio::net::TcpSocket::new_v4()?
        } else {
            tokio::net::TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(ip, settings.port))?;
        Ok(socket)
    }

    fn fail(&self, steps: &[Step]) -> ExitCode {
        logs::print_steps(&self.app.logger, steps);
        ExitCode::FAILURE
    }

    async fn boot(&self) -> Boot {
        let settings = &self.app.settings;
        let script = logs::boot_script(settings, &self.args);
        let doom = self.doom();
        let mut player = Player {
            server: self,
            due_s: self.app.clock.now(),
        };
        player.play(&script.before_engine).await;
        if let Some(Doom::Failure(failure)) = doom.filter(|doom| fails_before_engine(*doom)) {
            return Boot::Failed(self.fail(&logs::api_failure(settings, failure)));
        }
        player.due_s += self.slow_boot_s();
        let (loads, dies_loading) = match doom {
            Some(Doom::OomLoad) => (script.loading.len() / 2, true),
            Some(Doom::Failure(failure)) if logs::loading_crash(failure) => (script.loading.len() / 2, true),
            _ => (script.loading.len(), false),
        };
        player.play(&script.loading[..loads]).await;
        if let Some(doom) = doom {
            if !dies_loading {
                player.due_s += settings.profile.boot.profile_s;
                player.catch_up().await;
            }
            return Boot::Failed(self.die_at_start(doom));
        }
        player.play(&script.profiling).await;
        if self.args.faults.contains(&Fault::NeverReady) {
            std::future::pending::<()>().await;
        }
        player.play(&script.finishing).await;
        self.app.ready.store(true, Ordering::Release);
        Boot::Ready
    }

    /// How the start ends badly: by a fault, or because the figures say so.
    fn doom(&self) -> Option<Doom> {
        let by_fault = self.args.faults.iter().find_map(|fault| match fault {
            Fault::OomLoad => Some(Doom::OomLoad),
            Fault::OomProfiling => Some(Doom::OomProfiling),
            Fault::ExitAtStart(failure) => Some(Doom::Failure(*failure)),
            _ => None,
        });
        by_fault.or_else(|| self.app.settings.natural_failure())
    }

    fn slow_boot_s(&self) -> f64 {
        let slow = self.args.faults.iter().map(|fault| match fault {
            Fault::SlowBoot { seconds } => *seconds,
            _ => 0.0,
        });
        slow.sum()
    }

    fn die_at_start(&self, doom: Doom) -> ExitCode {
        if doom == Doom::Failure(StartFailure::Killed) {
            return kill_self();
        }
        self.fail(&logs::engine_failure(&self.app.settings, doom))
    }

    async fn after_death(&self) -> ExitCode {
        tokio::time::sleep(AFTER_DEATH).await;
        self.say_goodbye();
        ExitCode::SUCCESS
    }

    async fn stop(&self) -> ExitCode {
        let give_up = tokio::time::Instant::now() + GRACE;
        while tokio::time::Instant::now() < give_up && self.app.metrics.lock().running > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.say_goodbye();
        ExitCode::SUCCESS
    }

    fn say_goodbye(&self) {
        for line in [
            "Shutting down",
            "Waiting for application shutdown.",
            "Application shutdown complete.",
        ] {
            self.app.logger.uvicorn(line);
        }
        self.app
            .logger
            .uvicorn(&format!("Finished server process [{}]", std::process::id()));
    }
}

fn fails_before_engine(doom: Doom) -> bool {
    matches!(doom, Doom::Failure(failure) if logs::fails_before_engine(failure))
}

/// Ends this process as the kernel's out-of-memory killer would: without a word, by SIGKILL.
fn kill_self() -> ExitCode {
    let pid = std::process::id().to_string();
    // Where there is no `kill`, the status a shell would report has to do.
    drop(std::process::Command::new("kill").args(["-KILL", &pid]).status());
    ExitCode::from(137)
}

/// Plays boot steps against absolute simulated times.
struct Player<'a> {
    server: &'a Server,
    due_s: f64,
}

impl Player<'_> {
    async fn play(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Wait(seconds) => {
                    self.due_s += seconds;
                    self.catch_up().await;
                }
                Step::Listen => self.server.listening.notify_one(),
                step => logs::print_step(&self.server.app.logger, step),
            }
        }
    }

    async fn catch_up(&self) {
        self.server.app.clock.sleep_until(self.due_s).await;
    }
}

async fn serve(socket: tokio::net::TcpSocket, app: Arc<App>, listening: Arc<Notify>, booting: BootingHealth) {
    if booting == BootingHealth::Refused {
        listening.notified().await;
    }
    let logger: Arc<Logger> = Arc::clone(&app.logger);
    let served = match socket.listen(2048) {
        Ok(listener) => serve_on(listener, app).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        logger.raw(logs::Process::Api, &format!("ERROR:    [Errno] {error}"));
    }
}

async fn serve_on(listener: TcpListener, app: Arc<App>) -> std::io::Result<()> {
    use axum::serve::ListenerExt;
    // Small writes must not wait for more.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await
}
