//! The decision on a pending golden. What is accepted keeps the reviewer's reason and the digest of what it replaces.

use std::path::PathBuf;

use super::{Difference, Pending, ReviewError};
use crate::golden::{Golden, Store};

/// Makes the pending golden the accepted one of its case and returns its file.
pub fn accept(store: &Store, pending: &Pending, reason: Option<&str>) -> Result<PathBuf, ReviewError> {
    let accepted = accepted(pending, reason)?;
    Ok(store.accept(&accepted)?)
}

/// Accepts them all, or none where one of them cannot be.
pub fn accept_all(
    store: &Store,
    pending: &[&Pending],
    reason: Option<&str>,
) -> Result<Vec<PathBuf>, ReviewError> {
    let accepted = pending
        .iter()
        .map(|pending| accepted(pending, reason))
        .collect::<Result<Vec<_>, _>>()?;
    let write = |golden| Ok(store.accept(golden)?);
    accepted.iter().map(write).collect()
}

/// Removes the pending golden; whether there still was one.
pub fn reject(store: &Store, pending: &Pending) -> Result<bool, ReviewError> {
    Ok(store.clear_pending(&pending.model, &pending.case)?)
}

/// The golden as it will be written.
fn accepted(pending: &Pending, reason: Option<&str>) -> Result<Golden, ReviewError> {
    let name = pending.name();
    let difference = match &pending.difference {
        Ok(difference) => difference,
        Err(error) => {
            let why = error.to_string();
            return Err(ReviewError::Unreadable { name, why });
        }
    };
    let reason = reason
        .map(str::trim)
        .filter(|reason| !reason.is_empty())
        .map(str::to_owned);
    if let (None, Some(why)) = (&reason, difference.reason_needed()) {
        return Err(ReviewError::ReasonMissing { name, why });
    }
    let Difference { old, new, .. } = difference;
    // Whoever recorded it may have said why already.
    let reason = reason.or_else(|| new.header.reason.clone());
    let mut golden = new.clone();
    golden.header.floor = difference.accepted_floor();
    match old {
        None => golden.header.reason = reason,
        Some(old) => {
            golden = golden.replacing(old, reason)?;
        }
    }
    Ok(golden)
}
