//! `pg_setting_*`: the table of settings, for wrappers and documentation.

use std::ffi::{CString, c_char};
use std::ptr;

use once_cell::race::OnceBox;

use super::boundary::{c_text, infallible};
use super::versions::versioned;
use crate::config::SETTINGS;

versioned!(
    pg_setting_count,
    pg_setting_name,
    pg_setting_type,
    pg_setting_default,
    pg_setting_range,
    pg_setting_description
);

struct Row {
    name: CString,
    kind: CString,
    default: CString,
    range: CString,
    description: CString,
}

fn row(index: usize) -> Option<&'static Row> {
    // OnceBox takes no lock: a fork could leave a lock held in the child.
    static ROWS: OnceBox<Vec<Row>> = OnceBox::new();
    let rows = ROWS.get_or_init(|| {
        let rows = SETTINGS.iter().map(|setting| Row {
            name: c_text(setting.name),
            kind: c_text(setting.kind.name()),
            default: c_text(setting.default),
            range: c_text(&setting.kind.range()),
            description: c_text(setting.description),
        });
        Box::new(rows.collect())
    });
    rows.get(index)
}

fn column(index: usize, read: impl FnOnce(&Row) -> &CString) -> *const c_char {
    infallible(ptr::null(), || row(index).map_or(ptr::null(), |row| read(row).as_ptr()))
}

/// The number of settings. For an index that is not below it, the functions that follow return NULL.
#[unsafe(no_mangle)]
pub extern "C" fn pg_setting_count() -> usize {
    infallible(0, || SETTINGS.len())
}

/// The name of a setting.
#[unsafe(no_mangle)]
pub extern "C" fn pg_setting_name(index: usize) -> *const c_char {
    column(index, |row| &row.name)
}

/// The type of a setting: "text", "secret", "path", "url", "proxy", "store", "boolean", "milliseconds",
/// "seconds", "bytes" or "choice".
#[unsafe(no_mangle)]
pub extern "C" fn pg_setting_type(index: usize) -> *const c_char {
    column(index, |row| &row.kind)
}

/// The default of a setting, "" if it has none.
#[unsafe(no_mangle)]
pub extern "C" fn pg_setting_default(index: usize) -> *const c_char {
    column(index, |row| &row.default)
}

/// The values that a setting takes, in words.
#[unsafe(no_mangle)]
pub extern "C" fn pg_setting_range(index: usize) -> *const c_char {
    column(index, |row| &row.range)
}

/// What a setting does.
#[unsafe(no_mangle)]
pub extern "C" fn pg_setting_description(index: usize) -> *const c_char {
    column(index, |row| &row.description)
}
