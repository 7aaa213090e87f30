//! Numbers below 85³ as three printable characters, for the alternatives of a position. The alphabet is Z85's
//! (ZeroMQ RFC 32): no blank, quote, backslash or bar. 85³ = 614,125 holds every token id in use (the largest
//! vocabularies have about 262,000) and logprobs down to −61.4 nat; what is less likely than that is recorded so.

use super::STEPS_PER_NAT;

/// First number that three digits cannot say.
pub const END: u32 = 85 * 85 * 85;

/// Logprob of the least likely that is told apart.
pub const LEAST_LOGPROB: f64 = -((END - 1) as f64) / STEPS_PER_NAT;

const DIGITS: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// Digit → value; 255 where the byte is no digit.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        #[expect(clippy::cast_possible_truncation, reason = "value is below 85")]
        {
            values[DIGITS[value] as usize] = value as u8;
        }
        value += 1;
    }
    values
};

/// Appends a number below [`END`], most significant digit first.
pub fn push(out: &mut String, number: u32) {
    debug_assert!(number < END);
    for place in [85 * 85, 85, 1] {
        out.push(char::from(DIGITS[(number / place % 85) as usize]));
    }
}

/// The number that three digits say.
pub fn parse(digits: [u8; 3]) -> Option<u32> {
    digits.iter().try_fold(0, |number, &digit| {
        let value = VALUES[usize::from(digit)];
        (value != 255).then(|| number * 85 + u32::from(value))
    })
}

/// A logprob as steps below zero, at most what three digits say. Rounding noise above zero counts as zero.
pub fn steps_of(logprob: f64) -> u32 {
    let steps = (-logprob * STEPS_PER_NAT).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of three digits"
    )]
    let steps = steps.clamp(0.0, f64::from(END - 1)) as u32;
    steps
}

/// The logprob of a number of steps.
pub fn logprob_of(steps: u32) -> f64 {
    if steps == 0 {
        0.0
    } else {
        -f64::from(steps) / STEPS_PER_NAT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_returns() {
        let mut text = String::new();
        for number in [0, 1, 84, 85, 7224, 7225, 262_143, END - 1] {
            text.clear();
            push(&mut text, number);
            let digits: [u8; 3] = text.as_bytes().try_into().unwrap();
            assert_eq!(parse(digits), Some(number));
        }
        assert_eq!(parse(*b"0 0"), None);
        assert_eq!(parse([0xff, b'0', b'0']), None);
    }

    #[test]
    fn logprobs_are_rounded_and_bounded() {
        assert_eq!(logprob_of(steps_of(-2.191_626_548)), -2.1916);
        assert_eq!(logprob_of(steps_of(1e-9)), 0.0);
        assert_eq!(logprob_of(steps_of(-9_999.0)), -61.4124);
        assert_eq!(logprob_of(steps_of(f64::NEG_INFINITY)), -61.4124);
    }
}
