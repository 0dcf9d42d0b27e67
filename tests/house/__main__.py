"""`python -m tests.house [NAME]`: the table; with a part of a figure's name, what that figure counts too."""

from __future__ import annotations

import sys

from tests.house.figures import of_the_plan, of_the_walks

lines = [f"{'':36}{'now':>8}{'most':>8}{'wanted':>8}"]
for figure in (*of_the_plan(), *of_the_walks()):
    lines.append(str(figure))
    if any(part in figure.name for part in sys.argv[1:]):
        lines += [f"    {each}" for each in figure.counted]
sys.stdout.write("\n".join([*lines, ""]))
