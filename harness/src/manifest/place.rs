//! Where a value stands, for checks above this floor that know more than the files do: what a version of vLLM takes.

use std::path::Path;

use super::{Label, document::read_text, load::Catalogue, schema::Kind, tree};

impl Catalogue {
    /// The place of the value at `pointer` in a file that has been loaded; where that value is absent, of what would
    /// hold it. `None` where the file can no longer be read.
    pub fn place(&self, file: &Path, pointer: &str) -> Option<Label> {
        let source = read_text(file, self.shown(file), Kind::Cases.max_bytes()).ok()?;
        let (root, _) = tree::parse(&source).ok()?;
        let range = root.find(pointer).value();
        Some(Label {
            range,
            ..Label::whole(&source)
        })
    }
}
