//! Documents that are made from the sources. `PG_UPDATE_DOCS=1 cargo test --test docs` (make generate) renews them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;

use paymentsgate_auth::settings::SETTINGS;

#[test]
fn the_table_of_settings_is_the_librarys() {
    let mut page = String::from(
        "# Settings\n\n\
         Made from the library's own table; do not edit. From C: `pg_config_set(config, name, value, &error)`. From the \
         environment, by one explicit call (`pg_config_set_from_env`): the variable in the last column. A program can \
         read this table with `pg_setting_count` and its kin.\n\n\
         | setting | type | default | what it does | values | variable |\n|---|---|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let default =
            if setting.default.is_empty() { "—".into() } else { format!("`{}`", setting.default) };
        page += &format!(
            "| `{}` | {} | {default} | {} | {} | `{}` |\n",
            setting.name,
            setting.kind.name(),
            setting.description,
            setting.kind.range(),
            setting.variable()
        );
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    if std::env::var_os("PG_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == page,
        "docs/settings.md has drifted: run `make generate`"
    );
}
