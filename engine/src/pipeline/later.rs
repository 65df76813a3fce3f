//! Fields whose behaviour comes later: they are read, so that a mistake in them is found, and refused when they
//! ask for something. Nothing that a person writes is ignored.

use super::raw::RawPipeline;
use super::read::{At, Field, Reader};

/// Reports every field of `raw` that asks for what isn't there yet.
pub(super) fn refuse(raw: &RawPipeline, reader: &mut Reader) {
    not_yet(asked(&raw.backfill, |_| true), "a backfill is", "leave it out", reader);
}

fn asked<T>(field: &Field<T>, is: impl Fn(&T) -> bool) -> Option<&At<T>> {
    field.as_ref().filter(|at| is(&at.value))
}

fn not_yet<T>(asked: Option<&At<T>>, what: &str, instead: &str, reader: &mut Reader) {
    if let Some(at) = asked {
        reader.refuse_at::<(), _>(at, format!("{what} not supported yet; {instead}"));
    }
}
