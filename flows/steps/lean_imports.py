"""Heavy libraries, imported without what they import in vain: that is up to half of the time they take."""

import gc
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType

StandIns = Mapping[str, ModuleType | None]

# Makes a grammar of all addresses as it is imported, for a validator that can do without.
_GRAMMAR_OF_ADDRESSES = "rfc3987_syntax"


def left_out_of_prefect() -> StandIns:
    """Another event loop, the HTTP client's own commands, and validators of what no schema of a flow speaks of."""
    names = [_GRAMMAR_OF_ADDRESSES, "trio", "httpx._main", "isoduration", "webcolors"]
    # It speaks HTTP/2 only where it is told to.
    if "PREFECT_API_ENABLE_HTTP2" not in os.environ:
        names.append("h2")
    return dict.fromkeys(names)


def left_out_of_great_expectations() -> StandIns:
    """What draws charts and fits distributions, which any of its expectations may use. Ours are SQL alone."""
    scipy = ModuleType("scipy")
    scipy.stats = ModuleType("scipy.stats")
    return {"altair": ModuleType("altair"), "scipy": scipy, "scipy.stats": scipy.stats, _GRAMMAR_OF_ADDRESSES: None}


def left_out_of_statsmodels() -> StandIns:
    """Frames of another library, which it would take too. Ours are plain numbers."""
    return {"polars": None}


@contextmanager
def imported_lean(stand_ins: StandIns) -> Iterator[None]:
    """Within the block, others stand in for these modules, or None: then they are missing, as optional ones may be.

    What has been imported stays as it is, and afterwards whoever needs the real ones imports them as ever.
    """
    taken = {name: stand_in for name, stand_in in stand_ins.items() if name.split(".")[0] not in sys.modules}
    sys.modules.update(taken)
    # What is imported stays: to look for garbage in it costs a tenth of the time, and would again and again.
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
        for name in taken:
            del sys.modules[name]
