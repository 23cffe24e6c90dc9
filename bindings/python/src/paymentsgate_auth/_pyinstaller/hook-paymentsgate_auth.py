"""PyInstaller's hook: adds the native library, which no import names."""

from pathlib import Path

from PyInstaller.utils.hooks import get_package_paths, logger  # type: ignore[import-untyped]

_PACKAGE = "paymentsgate_auth"
_folder = Path(get_package_paths(_PACKAGE)[1])

binaries = [(str(library), _PACKAGE) for library in _folder.glob("libpaymentsgate_auth.*")]
if not binaries:
    logger.warning(
        "paymentsgate_auth: there is no library in %s, as in an editable install; the program looks for it "
        "where it runs. Install the wheel to put the library into the program",
        _folder,
    )

# Imported only in programs that use them, which import them too.
excludedimports = ["gevent", "pytest", "trio"]
