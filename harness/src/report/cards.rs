//! What the cards of a session did: the samples of a record, folded to the most that each card showed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::{CardSample, CardSamples};

/// The cards of a session, by index.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cards(BTreeMap<u32, CardPeak>);

/// The most that one card showed. `None` where no sample told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CardPeak {
    /// Index.
    pub index: u32,
    /// Samples of this card.
    pub samples: u64,
    /// Most memory in use, MiB.
    pub max_memory_used_mib: Option<u64>,
    /// Most power of the board, W.
    pub max_power_w: Option<f64>,
    /// Highest temperature of the hottest spot, °C.
    pub max_temperature_c: Option<f64>,
    /// Highest utilization, percent.
    pub max_utilization_percent: Option<f64>,
}

impl Cards {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn add(&mut self, samples: &CardSamples) {
        for sample in &samples.cards {
            let peak = self.0.entry(sample.index).or_default();
            peak.index = sample.index;
            peak.add(sample);
        }
    }

    /// Each card, by index.
    pub fn peaks(&self) -> impl Iterator<Item = &CardPeak> {
        self.0.values()
    }
}

impl CardPeak {
    fn add(&mut self, sample: &CardSample) {
        let most = |known: &mut Option<f64>, found: Option<f64>| {
            *known = [*known, found].into_iter().flatten().reduce(f64::max);
        };
        self.samples += 1;
        self.max_memory_used_mib = self.max_memory_used_mib.max(sample.memory_used_mib);
        most(&mut self.max_power_w, sample.power_w);
        most(&mut self.max_temperature_c, sample.temperature_c);
        most(&mut self.max_utilization_percent, sample.utilization_percent);
    }

    /// Memory, power, temperature and utilization with their units.
    pub fn shown(&self) -> [String; 4] {
        let shown = |figure: Option<String>, unit: &str| {
            figure.map_or_else(|| "not told".to_owned(), |figure| format!("{figure} {unit}"))
        };
        let text = |figure: Option<f64>| figure.map(|figure| figure.to_string());
        [
            shown(self.max_memory_used_mib.map(|mib| mib.to_string()), "MiB"),
            shown(text(self.max_power_w), "W"),
            shown(text(self.max_temperature_c), "°C"),
            shown(text(self.max_utilization_percent), "%"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use crate::report::{Style, fixture, json, markdown, terminal};

    #[test]
    fn each_report_shows_the_most_of_each_card() {
        let summary = fixture::summary(&fixture::on_hardware());
        let peaks: Vec<_> = summary.sessions[0].cards.peaks().collect();
        assert_eq!(
            peaks
                .iter()
                .map(|peak| (peak.index, peak.samples))
                .collect::<Vec<_>>(),
            [(0, 3), (1, 1)]
        );
        assert_eq!(
            peaks[0].shown(),
            ["58211 MiB", "291.5 W", "61 °C", "100 %"].map(str::to_owned)
        );
        assert_eq!(peaks[1].shown()[1], "not told");
        let markdown = markdown::render(&summary).unwrap();
        // Columns are padded to their widest cell.
        let markdown = markdown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            markdown.contains("| 0 | 58211 MiB | 291.5 W | 61 °C | 100 % | 3 |"),
            "{markdown}"
        );
        let style = Style {
            colour: false,
            width: 100,
        };
        let terminal = terminal::render(&summary, &[], style);
        assert!(
            terminal.contains("  card 0: at most 58211 MiB, 291.5 W, 61 °C, 100 %"),
            "{terminal}"
        );
        let json: serde_json::Value = serde_json::from_str(&json::render(&summary).unwrap()).unwrap();
        let cards = &json["models"][0]["cards"];
        assert_eq!(cards[0]["max_memory_used_mib"], 58_211);
        assert_eq!(cards[1]["max_power_w"], serde_json::Value::Null);
    }
}
