//! What identifies the weights in a model's folder, without reading hundreds of GiB.
//!
//! The digest is SHA-256 over every file in order of its name: name, size, and the content of files up to 1 MiB
//! (configuration, tokenizer settings, index) or the first and last MiB of larger ones. Weights that were trained,
//! quantized or converted anew differ in their first MiB; a change in the middle of one file alone is not seen.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

const PART_BYTES: u64 = 1 << 20;

/// Digest of the files of `folder` (its subfolders and hidden files are left out), as hex.
pub fn digest(folder: &Path) -> io::Result<String> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    files.retain(|path| path.is_file() && !name(path).starts_with('.'));
    files.sort();
    let mut hash = Sha256::new();
    for path in &files {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        hash.update(name(path).as_bytes());
        hash.update([0]);
        hash.update(size.to_le_bytes());
        let mut part = Vec::new();
        file.by_ref().take(PART_BYTES).read_to_end(&mut part)?;
        hash.update(&part);
        if size > PART_BYTES {
            file.seek(SeekFrom::Start(size.saturating_sub(PART_BYTES).max(PART_BYTES)))?;
            part.clear();
            file.take(PART_BYTES).read_to_end(&mut part)?;
            hash.update(&part);
        }
    }
    Ok(format!("{:x}", hash.finalize()))
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_at_either_end_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let weights = folder.path().join("model.safetensors");
        let mut content = vec![7; 3 << 20];
        let mut digests = Vec::new();
        let mut take = |content: &[u8]| {
            fs::write(&weights, content).unwrap();
            digests.push(digest(folder.path()).unwrap());
        };
        take(&content);
        content[0] = 8;
        take(&content);
        content[(3 << 20) - 1] = 8;
        take(&content);
        content.push(7);
        take(&content);
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        digests.push(digest(folder.path()).unwrap());
        let again = digest(folder.path()).unwrap();
        fs::write(folder.path().join(".stamp"), "2026").unwrap();
        assert_eq!(digest(folder.path()).unwrap(), again, "hidden files do not count");
        digests.dedup();
        assert_eq!(digests.len(), 5);
        assert!(digest(&folder.path().join("absent")).is_err());
    }
}
