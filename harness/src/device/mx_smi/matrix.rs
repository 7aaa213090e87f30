//! `mx-smi topo -m`: a line with the names of the cards, then a line a card with one word a link. Further columns
//! (network cards, affinities) and the legend are passed over.

use super::super::{
    report::DeviceReport,
    topology::{Link, Topology},
};

/// The cards that the matrix's first line names.
#[derive(Debug)]
pub(super) struct Matrix {
    columns: usize,
}

impl Matrix {
    /// The columns, if the line names cards.
    pub(super) fn of(line: &str) -> Option<Self> {
        let columns = line.split_whitespace().map_while(card).count();
        (columns > 0 && line.split_whitespace().nth(columns).and_then(Link::of).is_none())
            .then_some(Self { columns })
    }

    /// Reads a row; `false` where it is something else.
    pub(super) fn line(&self, line: &str, report: &mut DeviceReport) -> bool {
        let mut words = line.split_whitespace();
        let Some(index) = words.next().and_then(card) else {
            return false;
        };
        let links: Vec<Link> = words.take(self.columns).map_while(Link::of).collect();
        if links.len() != self.columns {
            return false;
        }
        let topology = report.topology.get_or_insert_with(|| Topology {
            cards: vec![],
            links: vec![],
        });
        topology.cards.push(index);
        topology.links.push(links);
        true
    }
}

/// The index of `GPU0`.
fn card(word: &str) -> Option<u32> {
    word.strip_prefix("GPU")?.parse().ok()
}
