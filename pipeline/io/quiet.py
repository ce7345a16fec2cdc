"""Keep what libraries say to themselves."""

from __future__ import annotations

import logging
import warnings


def hush() -> None:
    """Silence warnings and logs of this process for good: pydicom and others quote element values in them."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
