"""Examples are scripts and no part of the package: their own modules are found here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
