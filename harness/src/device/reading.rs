//! Figures as management tools print them: a number, its unit, or one of many words for "not known".

/// The text, unless it is a word for "not known": `NA`, `N/A`, `[N/A]`, `unknown`, `[Not Supported]`, `-` or nothing.
pub(super) fn known(text: &str) -> Option<&str> {
    let text = text.trim();
    let bare = text.trim_start_matches('[').trim_end_matches(']').trim();
    let unknown = [
        "",
        "-",
        "--",
        "na",
        "n/a",
        "none",
        "unknown",
        "not supported",
        "unknown error",
        "not found",
    ];
    (!unknown.iter().any(|word| bare.eq_ignore_ascii_case(word))).then_some(text)
}

/// A finite number followed by exactly this unit: `number("59W", "W")`, `number("350.000 W", "W")`.
pub(super) fn number(text: &str, unit: &str) -> Option<f64> {
    let number: f64 = text.trim().strip_suffix(unit)?.trim_end().parse().ok()?;
    number.is_finite().then_some(number)
}

/// An amount of memory with its unit, in MiB, rounded down as mx-smi's own table rounds: `15155 MiB`, `67108864 KB`,
/// `15.625gb`. The tools' KB, MB and GB are powers of 1024: 67108864 KB and 65536 MiB are the same card's.
pub(super) fn mebibytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| c.is_ascii_alphabetic())?;
    let amount = number(&text[..digits], "")?;
    let bytes = match text[digits..].to_ascii_lowercase().as_str() {
        "b" => 1.0,
        "kb" | "kib" => 1024.0,
        "mb" | "mib" => 1024.0 * 1024.0,
        "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    whole(amount * bytes / (1024.0 * 1024.0))
}

/// A number rounded down, if it is one that a counter can hold.
pub(super) fn whole(number: f64) -> Option<u64> {
    // Beyond 2^53 neighbouring integers are no longer distinct.
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    if !(0.0..LIMIT).contains(&number) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked, and the fraction is meant to go"
    )]
    Some(number as u64)
}

/// Whether a word has the form of a PCI address: `0000:37:00.0`, or `00000000:37:00.0` as NVIDIA writes it.
pub(super) fn is_bus_id(word: &str) -> bool {
    let hexadecimal = |part: &str, lengths: &[usize]| {
        lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let Some((rest, function)) = word.rsplit_once('.') else {
        return false;
    };
    let parts: Vec<&str> = rest.split(':').collect();
    let [domain, bus, device] = parts[..] else {
        return false;
    };
    hexadecimal(domain, &[4, 8])
        && hexadecimal(bus, &[2])
        && hexadecimal(device, &[2])
        && hexadecimal(function, &[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_not_known() {
        for text in ["NA", "N/A", "[N/A]", "unknown", "[Not Supported]", " ", "-"] {
            assert_eq!(known(text), None, "{text:?}");
        }
        assert_eq!(known(" Native "), Some("Native"));
    }

    #[test]
    fn numbers_keep_to_their_unit() {
        assert_eq!(number(" 350.000 W", "W"), Some(350.0));
        assert_eq!(number("59W", "C"), None);
        assert_eq!(number("NaN W", "W"), None);
        assert_eq!(number("W", "W"), None);
    }

    #[test]
    fn memory_in_every_unit() {
        assert_eq!(mebibytes("15518872 KB"), Some(15155));
        assert_eq!(mebibytes("65536 MiB"), Some(65536));
        assert_eq!(mebibytes("15.625gb"), Some(16000));
        assert_eq!(mebibytes("858"), None);
        assert_eq!(mebibytes("-1 MiB"), None);
        assert_eq!(mebibytes("1e300 GB"), None);
    }

    #[test]
    fn addresses() {
        assert!(is_bus_id("0000:0e:00.0"));
        assert!(is_bus_id("00000000:3B:00.0"));
        assert!(!is_bus_id("0000:0e:00"));
        assert!(!is_bus_id("08:29:41.0"));
    }
}
