//! Options of `simulator stream`.

/// What the stream server plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// From a request to its first token, nanoseconds.
    pub ttft_ns: u64,
    /// From token to token, nanoseconds; 0 is as fast as possible.
    pub itl_ns: u64,
    /// Events that leave in one write.
    pub events_per_write: u32,
}

impl StreamOptions {
    /// Reads the words after `stream`. The error says what would be right.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            port: 0,
            ttft_ns: 0,
            itl_ns: 0,
            events_per_write: 1,
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| format!("stream: {word} needs a value"))?;
            let wrong = |expected: &str| format!("stream: {word} cannot be `{value}`: use {expected}");
            match word.as_str() {
                "--port" => options.port = value.parse().map_err(|_| wrong("a port"))?,
                "--ttft-ms" => options.ttft_ns = nanoseconds(&value).ok_or_else(|| wrong("milliseconds"))?,
                "--itl-ms" => options.itl_ns = nanoseconds(&value).ok_or_else(|| wrong("milliseconds"))?,
                "--events-per-write" => {
                    let count = value.parse().ok().filter(|count| (1..=1024).contains(count));
                    options.events_per_write = count.ok_or_else(|| wrong("1 to 1024"))?;
                }
                _ => {
                    let known = "--port, --ttft-ms, --itl-ms, --events-per-write";
                    return Err(format!("stream: no flag {word}: there are {known}"));
                }
            }
        }
        if options.port == 0 {
            return Err("stream: --port N is needed".to_owned());
        }
        Ok(options)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be within a day"
)]
fn nanoseconds(milliseconds: &str) -> Option<u64> {
    let milliseconds: f64 = milliseconds.parse().ok()?;
    (0.0..=86_400_000.0)
        .contains(&milliseconds)
        .then_some((milliseconds * 1e6) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<StreamOptions, String> {
        StreamOptions::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read() {
        let options = parse("--port 8000 --ttft-ms 50 --itl-ms 0.25 --events-per-write 16").unwrap();
        assert_eq!((options.port, options.ttft_ns), (8000, 50_000_000));
        assert_eq!((options.itl_ns, options.events_per_write), (250_000, 16));
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        let problems = [
            "",
            "--port",
            "--port x",
            "--port 1 --itl-ms -1",
            "--port 1 --events-per-write 0",
            "--speed 3",
        ];
        let told = problems.map(|line| parse(line).unwrap_err());
        insta::assert_snapshot!(told.join("\n"));
    }
}
