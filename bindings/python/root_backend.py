"""A build backend that builds the package from the root of the tree."""

import os
from pathlib import Path

os.chdir(Path(__file__).parents[2])

from hatchling.build import *  # noqa: E402, F403
