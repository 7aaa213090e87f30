//! The boot as it is printed.

use serde_json::json;

use crate::server::plan;

/// A log without what differs from run to run.
fn normalized(log: &str, port: u16) -> String {
    let pid_end = |text: &str| {
        text.find(|letter: char| !letter.is_ascii_digit())
            .unwrap_or(text.len())
    };
    let mut out = String::new();
    for line in log.lines() {
        let mut line = line
            .replace(&port.to_string(), "PORT")
            .replace('\r', "\\r")
            .replace('\x1b', "\\e");
        for mark in ["pid=", "PID ", "process ["] {
            if let Some(at) = line.find(mark) {
                let rest = line.split_off(at + mark.len());
                line = line + "N" + &rest[pid_end(&rest)..];
            }
        }
        for level in ["DEBUG ", "INFO ", "WARNING ", "ERROR "] {
            // 14 characters of date and time follow the level.
            let start = line.find(level).map(|at| at + level.len());
            if let Some(at) = start.filter(|at| line[*at..].get(14..16) == Some(" [")) {
                line.replace_range(at..at + 14, "MM-DD hh:mm:ss");
            }
        }
        if line.starts_with("127.0.0.1") || line.contains("GET /health") {
            continue;
        }
        out += &line;
        out.push('\n');
    }
    out
}

async fn boot(plan: crate::server::Plan) -> String {
    let server = plan.serve().await;
    normalized(&server.log(), server.port)
}

#[tokio::test]
async fn boot_of_0_8_5() {
    insta::assert_snapshot!(boot(plan("0.8.5")).await);
}

#[tokio::test]
async fn boot_of_0_8_5_with_the_second_engine() {
    insta::assert_snapshot!(boot(plan("0.8.5").env("VLLM_USE_V1", "1")).await);
}

#[tokio::test]
async fn boot_of_0_12_0_at_debug_level() {
    insta::assert_snapshot!(boot(plan("0.12.0").env("VLLM_LOGGING_LEVEL", "DEBUG")).await);
}

#[tokio::test]
async fn boot_of_0_12_0_on_two_cards() {
    insta::assert_snapshot!(boot(plan("0.12.0").args(&["-tp", "2"]).env("NO_COLOR", "1")).await);
}

#[tokio::test]
async fn boot_of_0_28_0() {
    insta::assert_snapshot!(boot(plan("0.28.0")).await);
}

#[tokio::test]
async fn nobody_listens_while_it_boots_where_that_is_asked_for() {
    let server = plan("0.8.5")
        .with("/health_while_booting", json!("refused"))
        .with("/clock", json!(50.0))
        .start();
    assert_eq!(server.status("/health").await, None);
    server.wait_until_ready().await;
    let server = plan("0.8.5").with("/clock", json!(50.0)).start();
    let mut seen = None;
    while seen.is_none() {
        seen = server.status("/health").await;
    }
    assert_eq!(seen, Some(503));
    assert!(server.get("/simulator/info").await.contains("\"simulator\":true"));
}
