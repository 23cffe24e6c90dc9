//! Replaces `src/defect.rs`: a panic is a failure of the model.

use crate::error::Error;

pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, Error> {
    Ok(work())
}
