"""Builds the package from the root of the tree, where all of it is."""

import os
from pathlib import Path

os.chdir(Path(__file__).parents[2])

from hatchling.build import *  # noqa: E402, F403
