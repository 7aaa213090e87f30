//! What the client is to reach: as cheap as a socket, right to a millisecond, and far cheaper than its peers.

use serde::Serialize;

use super::Row;

/// Our client's name in rows.
pub const OURS: &str = "harness";
/// The least client's name in rows.
pub const RAW: &str = "raw";

/// Cost against the raw client's, in cases at real speed.
const CPU_OF_RAW: f64 = 1.1;
/// Cost against `vllm bench serve`'s.
const CPU_OF_VLLM: f64 = 1.0 / 3.0;
/// Errors of the time to first token, milliseconds.
const TTFT_ERROR_MS: [f64; 2] = [1.0, 5.0];
/// Error of gaps, 99th percentile, milliseconds.
const ITL_ERROR_MS: f64 = 0.05;
/// Speed against the raw client's where the server sends as fast as it can.
const SPEED_OF_RAW: f64 = 0.9;
/// Cost in d16, seconds for 1,000 tokens.
const CPU_D16_S: f64 = 0.001;
/// Time to the first request, seconds.
const STARTUP_S: f64 = 0.1;
/// Memory by case, MB.
const RSS_MB: [(&str, f64); 2] = [("b", 15.0), ("c", 60.0)];

/// A figure against its target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// Name of the case.
    pub case: String,
    /// Name of the figure.
    pub figure: String,
    /// What was found: a figure, or a ratio to another client's.
    pub found: f64,
    /// The most, or least, that is allowed.
    pub target: f64,
    /// Whether it is met.
    pub met: bool,
    /// All that in words.
    pub text: String,
}

/// Every target of which there are figures.
pub fn judge(rows: &[Row]) -> Vec<Judged> {
    rows.iter()
        .filter(|row| row.client == OURS)
        .flat_map(|row| case(row, rows))
        .collect()
}

fn case(ours: &Row, rows: &[Row]) -> Vec<Judged> {
    let other = |name: &str| {
        rows.iter()
            .find(|row| row.case == ours.case && row.client.starts_with(name))
    };
    let paced = matches!(ours.case.as_str(), "b" | "c");
    let fast = matches!(ours.case.as_str(), "d" | "d16");
    let mut judged = vec![at_most(ours, "errors", ours.errors as f64, 0.0)];
    if let (true, Some(raw)) = (paced, other(RAW)) {
        let ratio = ours.cpu_s_per_1k_tokens / raw.cpu_s_per_1k_tokens;
        judged.push(at_most(ours, "CPU / raw client's", ratio, CPU_OF_RAW));
    }
    if let (true, Some(peer)) = (paced, other("vllm")) {
        let ratio = ours.cpu_s_per_1k_tokens / peer.cpu_s_per_1k_tokens;
        judged.push(at_most(ours, "CPU / vllm bench serve's", ratio, CPU_OF_VLLM));
    }
    if let (true, Some(error)) = (paced, ours.ttft_error_ms) {
        judged.push(at_most(ours, "TTFT error p50, ms", error.p50, TTFT_ERROR_MS[0]));
        judged.push(at_most(ours, "TTFT error p99, ms", error.p99, TTFT_ERROR_MS[1]));
    }
    if let (true, Some(error)) = (paced, ours.itl_error_ms) {
        judged.push(at_most(ours, "ITL error p99, ms", error.p99, ITL_ERROR_MS));
    }
    if let (true, Some(raw)) = (fast, other(RAW)) {
        let ratio = ours.tokens_per_s / raw.tokens_per_s;
        judged.push(at_least(ours, "tokens/s / raw client's", ratio, SPEED_OF_RAW));
    }
    if ours.case == "d16" {
        judged.push(at_most(
            ours,
            "CPU s/1k tokens",
            ours.cpu_s_per_1k_tokens,
            CPU_D16_S,
        ));
    }
    if let Some((_, most)) = RSS_MB.iter().find(|(name, _)| *name == ours.case) {
        judged.push(at_most(ours, "peak memory, MB", ours.peak_rss_mb, *most));
    }
    if ours.case != "10k" {
        judged.push(at_most(ours, "start-up, s", ours.startup_s, STARTUP_S));
    }
    judged
}

fn at_most(row: &Row, figure: &str, found: f64, target: f64) -> Judged {
    judged(row, figure, found, target, (found <= target, "≤"))
}

fn at_least(row: &Row, figure: &str, found: f64, target: f64) -> Judged {
    judged(row, figure, found, target, (found >= target, "≥"))
}

fn judged(row: &Row, figure: &str, found: f64, target: f64, (met, sign): (bool, &str)) -> Judged {
    Judged {
        case: row.case.clone(),
        figure: figure.to_owned(),
        found,
        target,
        met,
        text: format!("{} {figure} {found:.4} ({sign} {target:.4})", row.case),
    }
}
