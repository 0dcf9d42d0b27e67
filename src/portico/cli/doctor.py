"""`doctor`: what is wrong here, why, and what mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import ExitCode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from portico.cli.runtime import Runtime
    from portico.doctor.examination import Result
    from portico.doctor.finding import Found

_EXAMPLES = """examples:
  {prog} doctor                     look at everything; the worst is told first
  {prog} doctor --fix               and mend what can be mended without asking
  {prog} doctor --json
  {prog} doctor --bundle report.tar.gz     what it found, for a bug report: no secret is in it

exit code: 0 nothing is wrong (warnings are no fault); 9 something is.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `doctor`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--fix", action="store_true", help="mend what is safe to mend, and say what was done")
    parser.add_argument("--bundle", metavar="FILE", help="write what was found into an archive for a bug report, without secrets")
    parser.set_defaults(handler=doctor, tells_trouble=False)


def doctor(args: argparse.Namespace, rt: Runtime) -> int:
    """Look, mend where told, and tell.

    Raises:
        StoreError: the bundle cannot be written.
    """
    from portico.doctor.examination import examine, worst_first

    looking = rt.unattended()
    results = examine(looking)
    mended = _mend(worst_first(results)) if args.fix else []
    if mended:
        again = rt.unattended()
        again.passphrase = looking.passphrase  # the first one who read it has removed it from the environment
        results = examine(again)
    found = worst_first(results)
    if args.bundle is not None:
        from portico.doctor.bundle import write_bundle

        write_bundle(args.bundle, rt, results)
    code = ExitCode.CONFIG if any(each.level == "error" for each in found) else ExitCode.OK
    if rt.out.is_json:
        rt.out.json(
            {
                "exitCode": code,
                "findings": [as_json(each, rt.program) for each in found],
                "mended": mended,
                "checks": timings(results),
            }
        )
        return code
    for line in mended:
        rt.out.line(f"mended: {_printable(line)}")
    for each in found:
        _show(each, rt)
    if not found:
        rt.out.line(f"Nothing is wrong: {', '.join(result.check.label for result in results)}.")
    if args.bundle is not None:
        rt.out.note(f"Written, without secrets, readable by you alone: {args.bundle}")
    return code


def as_json(found: Found, program: str) -> dict[str, object]:
    """One finding for programs."""
    hint = found.hint.replace("{prog}", program) if found.hint is not None else None
    return {
        "id": found.id,
        "level": found.level,
        "message": found.message,
        "why": found.why,
        "hint": hint,
        "fixable": found.mend is not None,
    }


def timings(results: Sequence[Result]) -> dict[str, int]:
    """How long each check took, in milliseconds."""
    return {result.check.id: result.took_ms for result in results}


def _mend(found: Sequence[Found]) -> list[str]:
    from portico.errors import PorticoError

    done = []
    for each in found:
        if each.mend is None:
            continue
        try:
            done.append(each.mend())
        except (OSError, PorticoError) as error:
            done.append(f"{each.id} could not be mended: {error}")
    return done


def _printable(line: str) -> str:
    """`line` without what a terminal would act on: a finding repeats names from files that anybody may have written."""
    return "".join(each if each.isprintable() else "?" for each in line)


def _show(found: Found, rt: Runtime) -> None:
    rt.out.line(_printable(f"{found.level}: {found.message} [{found.id}]"))
    for text in (found.why, found.hint.replace("{prog}", rt.program) if found.hint else None):
        for line in text.split("\n") if text else ():
            rt.out.line(_printable(f"  {line}"))
    if found.mend is not None:
        rt.out.line(f"  {rt.program} doctor --fix does it.")
