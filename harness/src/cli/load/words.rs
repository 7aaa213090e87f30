//! Values of flags.

use std::time::Duration;

use crate::load::{PERCENTILES, Promises, probe::Endpoint, shape::time};

pub fn percentiles(given: &[f64]) -> Vec<f64> {
    if given.is_empty() {
        return PERCENTILES.to_vec();
    }
    let mut all = given.to_vec();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}

pub fn endpoint(word: &str) -> Result<Endpoint, String> {
    match word {
        "any" => Ok(Endpoint::Any),
        "completions" => Ok(Endpoint::Completions),
        "chat" => Ok(Endpoint::Chat),
        _ => Err("write any, completions or chat".to_owned()),
    }
}

pub fn duration(text: &str) -> Result<Duration, String> {
    time(text).ok_or_else(|| "write a time such as `30s`, `500ms` or `2m`".to_owned())
}

pub fn percentile(text: &str) -> Result<f64, String> {
    let number = text
        .trim()
        .parse()
        .ok()
        .filter(|p: &f64| (0.0..=100.0).contains(p));
    number.ok_or_else(|| "write percentiles from 0 to 100 with commas between".to_owned())
}

pub fn promises(text: &str) -> Result<Promises, String> {
    let mut promises = Promises::default();
    for part in text.split(',') {
        let wrong = || format!("`{part}` is no promise: write ttft=200ms, tpot=50ms or e2el=10s");
        let (name, limit) = part.split_once('=').ok_or_else(wrong)?;
        let limit = time(limit.trim()).ok_or_else(wrong)?.as_secs_f64();
        match name.trim() {
            "ttft" => promises.ttft_s = Some(limit),
            "tpot" => promises.tpot_s = Some(limit),
            "e2el" => promises.e2e_s = Some(limit),
            _ => return Err(wrong()),
        }
    }
    Ok(promises)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_name_what_they_limit() {
        let found = promises("ttft=200ms, e2el=10s").unwrap();
        assert_eq!(
            (found.ttft_s, found.tpot_s, found.e2e_s),
            (Some(0.2), None, Some(10.0))
        );
        assert!(promises("p99=3").unwrap_err().contains("`p99=3` is no promise"));
        assert!(promises("ttft").is_err());
    }

    #[test]
    fn percentiles_are_sorted_and_bounded() {
        assert_eq!(percentiles(&[99.0, 50.0, 99.0]), [50.0, 99.0]);
        assert_eq!(percentiles(&[]), PERCENTILES);
        assert!(percentile("101").is_err());
    }
}
