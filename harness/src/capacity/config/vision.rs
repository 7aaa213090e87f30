//! The vision tower of a configuration (`vision_config`).

use super::{Reader, bound};
use crate::capacity::{family::VisionKind, shape::Tower};

impl Reader<'_> {
    pub(super) fn vision(&mut self, kind: VisionKind, hidden: Option<u64>) -> Option<Tower> {
        let section = "/vision_config";
        if self.document.get(section).is_none() {
            self.problems.push(
                self.document
                    .lacks("", "vision_config")
                    .help("it gives the shape of the vision tower"),
            );
            return None;
        }
        let language = std::mem::replace(&mut self.base, section);
        let usual = Tower::usual(kind);
        let depth = self.count(&["depth"], bound::LAYERS);
        let (width, ffn, out) = match kind {
            VisionKind::Qwen2 => {
                let width = self.count(&["embed_dim"], bound::WIDTH);
                let ratio = self.optional("mlp_ratio", bound::EXPERTS).unwrap_or(4);
                let ffn = width.map(|width| width.saturating_mul(ratio));
                (width, ffn, self.optional("hidden_size", bound::WIDTH).or(hidden))
            }
            VisionKind::Qwen25 => (
                self.count(&["hidden_size"], bound::WIDTH),
                self.count(&["intermediate_size"], bound::WIDTH),
                self.optional("out_hidden_size", bound::WIDTH).or(hidden),
            ),
        };
        let tower = Tower {
            patch: self.optional("patch_size", bound::WIDTH).unwrap_or(usual.patch),
            frames: self
                .optional("temporal_patch_size", bound::EXPERTS)
                .unwrap_or(usual.frames),
            channels: self
                .optional("in_channels", bound::EXPERTS)
                .or_else(|| self.optional("in_chans", bound::EXPERTS))
                .unwrap_or(usual.channels),
            merge: self
                .optional("spatial_merge_size", bound::EXPERTS)
                .unwrap_or(usual.merge),
            ..usual
        };
        self.base = language;
        Some(Tower {
            depth: depth?,
            width: width?,
            ffn: ffn?,
            out: out?,
            ..tower
        })
    }
}
