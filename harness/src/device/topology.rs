//! How the cards of a host are linked, as `topo -m` prints it.
//!
//! Tensor parallelism wants cards of one island: an eight-card C500 host is usually two islands of four.

use serde::{Deserialize, Serialize};

/// Links between cards. `links[a][b]` is the link from `cards[a]` to `cards[b]`; every row has one entry a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Indices of the cards, in the order of the rows.
    pub cards: Vec<u32>,
    /// Links, a row a card.
    pub links: Vec<Vec<Link>>,
}

/// How two cards reach each other; the words are those of the tool's own legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Link {
    /// The card itself.
    X,
    /// Between NUMA nodes.
    Sys,
    /// Between the PCIe host bridges of one NUMA node.
    Node,
    /// Through a PCIe host bridge.
    Phb,
    /// Through several PCIe switches.
    Pxb,
    /// Through one PCIe switch.
    Pix,
    /// MetaXLink.
    Mx,
    /// Ethernet.
    Eth,
    /// Not known to the tool.
    Na,
}

impl Link {
    /// The link of a word in the matrix.
    pub(super) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "X" => Self::X,
            "SYS" => Self::Sys,
            "NODE" => Self::Node,
            "PHB" => Self::Phb,
            "PXB" => Self::Pxb,
            "PIX" => Self::Pix,
            "MX" => Self::Mx,
            "ETH" => Self::Eth,
            "NA" | "N/A" => Self::Na,
            _ => return None,
        })
    }
}

impl Topology {
    /// Groups of cards that reach each other over MetaXLink, in the order of the cards.
    pub fn islands(&self) -> Vec<Vec<u32>> {
        let linked = |a: usize, b: usize| self.links.get(a).and_then(|row| row.get(b)) == Some(&Link::Mx);
        let mut island = vec![usize::MAX; self.cards.len()];
        let mut count = 0;
        for start in 0..self.cards.len() {
            if island[start] != usize::MAX {
                continue;
            }
            let mut reached = vec![start];
            while let Some(card) = reached.pop() {
                island[card] = count;
                let new = |&other: &usize| island[other] == usize::MAX && linked(card, other);
                reached.extend((0..self.cards.len()).filter(new));
            }
            count += 1;
        }
        let members = |number| {
            let of_island = |(&card, &its): (&u32, &usize)| (its == number).then_some(card);
            self.cards.iter().zip(&island).filter_map(of_island).collect()
        };
        (0..count).map(members).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn islands_are_what_metaxlink_joins() {
        let link = |a: usize, b: usize| match (a, b) {
            _ if a == b => Link::X,
            _ if a / 2 == b / 2 => Link::Mx,
            _ => Link::Sys,
        };
        let links = (0..4).map(|a| (0..4).map(|b| link(a, b)).collect()).collect();
        let topology = Topology {
            cards: vec![4, 5, 6, 7],
            links,
        };
        assert_eq!(topology.islands(), [vec![4, 5], vec![6, 7]]);
    }

    #[test]
    fn a_card_without_links_is_its_own_island() {
        let topology = Topology {
            cards: vec![0, 1],
            links: vec![vec![Link::X]],
        };
        assert_eq!(topology.islands(), [vec![0], vec![1]]);
    }
}
