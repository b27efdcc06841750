"""Great Expectations, imported without what draws charts and fits distributions: two fifths of the time it takes.

It imports all that any of its expectations may use. Ours are SQL alone (`suite.py`). Afterwards whoever needs the real
libraries, the report for instance, imports them as ever.
"""

import sys
from types import ModuleType


def import_great_expectations() -> None:
    """Import it once; later imports find it."""
    if "great_expectations" in sys.modules:
        return
    stand_ins: dict[str, ModuleType | None] = {"altair": ModuleType("altair")}
    # It makes a grammar of all addresses as it is imported; the validator that asks for it can do without.
    stand_ins["rfc3987_syntax"] = None
    scipy = ModuleType("scipy")
    scipy.stats = ModuleType("scipy.stats")
    stand_ins |= {"scipy": scipy, "scipy.stats": scipy.stats}
    taken = {name: stand_in for name, stand_in in stand_ins.items() if name.split(".")[0] not in sys.modules}
    sys.modules.update(taken)
    try:
        import great_expectations  # noqa: F401
    finally:
        for name in taken:
            del sys.modules[name]
