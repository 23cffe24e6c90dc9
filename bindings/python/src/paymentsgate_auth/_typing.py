"""Names of ``typing`` that Python 3.10 lacks. They exist at run time, to evaluate annotations with."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["Self", "Unpack"]

if sys.version_info >= (3, 11):
    from typing import Self, Unpack
elif TYPE_CHECKING:
    from typing_extensions import Self, Unpack
else:
    Self = TypeVar("Self")

    class Unpack:
        """Evaluates to what it is subscripted with."""

        def __class_getitem__(cls, item: Any) -> Any:
            return item
