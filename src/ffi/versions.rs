//! The symbol versions of the shared library, where build.rs has found a linker that can give them.

/// Gives functions of this file the version of the ABI. The directive takes functions of its own unit of code generation, so each
/// file has its own list; a test compares the lists with the exports.
macro_rules! versioned {
    ($($function:ident),+ $(,)?) => {
        #[cfg(pg_symbol_versions)]
        std::arch::global_asm!($(concat!(
            ".symver ", stringify!($function), ", ", stringify!($function), "@@PAYMENTSGATE_AUTH_1"
        )),+);
    };
}
pub(super) use versioned;
