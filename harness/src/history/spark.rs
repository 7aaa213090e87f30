//! A trend in one line of block characters, with a bar where its level changed.

/// From least to greatest.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Of a trend whose figures are all the same.
const FLAT: char = '▄';
/// A change of level.
const CHANGE: char = '│';

/// `values` in at most `width` columns, each the mean of the values that share it; a bar stands before the column in
/// which a change (an index into `values`) lies.
pub fn spark(values: &[f64], changes: &[usize], width: usize) -> String {
    let columns = width.saturating_sub(changes.len()).max(1).min(values.len());
    let bounds: Vec<usize> = (0..=columns)
        .map(|column| column * values.len() / columns.max(1))
        .collect();
    let bins: Vec<(usize, f64)> = bounds
        .windows(2)
        .filter_map(|ends| {
            let bin = values.get(ends[0]..ends[1]).filter(|bin| !bin.is_empty())?;
            Some((ends[1], bin.iter().sum::<f64>() / bin.len() as f64))
        })
        .collect();
    let least = bins.iter().map(|(_, mean)| *mean).fold(f64::INFINITY, f64::min);
    let most = bins
        .iter()
        .map(|(_, mean)| *mean)
        .fold(f64::NEG_INFINITY, f64::max);
    let mut out = String::new();
    let mut pending = changes.iter().peekable();
    for (end, mean) in bins {
        while pending.next_if(|&&change| change < end).is_some() {
            out.push(CHANGE);
        }
        out.push(block((mean - least) / (most - least)));
    }
    out
}

/// The block of a share; a share that is none, since there is nothing between least and most, is flat.
fn block(share: f64) -> char {
    if !share.is_finite() {
        return FLAT;
    }
    let steps = BLOCKS.iter().zip(1_u32..);
    let found = steps
        .take_while(|(_, step)| share * 8.0 >= f64::from(step - 1))
        .last();
    found.map_or(BLOCKS[0], |(block, _)| *block)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_shape_is_that_of_the_values() {
        assert_eq!(
            spark(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &[], 20),
            "▁▂▃▄▅▆▇█"
        );
        assert_eq!(spark(&[5.0, 5.0, 5.0], &[], 20), "▄▄▄");
        assert_eq!(spark(&[1.0], &[], 20), "▄");
        assert_eq!(spark(&[], &[], 20), "");
        assert_eq!(spark(&[9.0, 9.0, 9.0, 1.0, 1.0, 1.0], &[3], 20), "███│▁▁▁");
        assert_eq!(spark(&[9.0, 9.0, 9.0, 1.0, 1.0, 1.0], &[3], 3), "█│▁");
    }

    proptest! {
        #[test]
        fn it_fits(values in prop::collection::vec(-1e9f64..1e9, 1..200), width in 4usize..60, cut in 0usize..200) {
            let changes: Vec<usize> = Some(cut).filter(|cut| *cut < values.len()).into_iter().collect();
            let line = spark(&values, &changes, width);
            prop_assert!(line.chars().count() <= width);
            prop_assert_eq!(line.matches(CHANGE).count(), changes.len());
        }
    }
}
