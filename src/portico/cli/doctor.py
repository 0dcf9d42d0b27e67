"""`doctor`: diagnose problems and suggest fixes."""

from __future__ import annotations

import io
import json
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.auth.freshness import health_now
from portico.doctor.examination import examine, worst_first
from portico.errors import ExitCode, PorticoError
from portico.paths import FILE_MODE
from portico.secret import redact
from portico.util.files import file_error, read_end, write_in_place
from portico.version import __version__

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from portico.app import App
    from portico.doctor.examination import Result
    from portico.doctor.finding import Finding

_MARK: Final = len("[warning] ")
_LOG_BYTES: Final = 64 << 10
_EXAMPLES = """examples:
  {prog} doctor                            run all checks and list the problems, the worst first
  {prog} doctor --fix                      also fix what is safe to fix
  {prog} doctor --json
  {prog} doctor --bundle report.tar.gz     write an archive to attach to a bug report; it contains no secrets

exit code: 0 no errors (there may be warnings); 9 at least one error.
With --json, `results` has the status of each check: ok, warning, error, or skipped if there was nothing to check.
"""


_ASKS_NOTHING: Final = "`doctor` asks no questions"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `doctor`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--fix", action="store_true", help="fix what is safe to fix, and list the fixes")
    parser.add_argument("--bundle", metavar="FILE", help="also write an archive for a bug report; it contains no secrets")
    parser.set_defaults(handler=doctor, warns_of_ended=False)


def doctor(args: argparse.Namespace, app: App) -> int:
    """Run every check and report; with `--fix`, fix what is safe first.

    Raises:
        StoreError: the bundle could not be written.
    """
    first_app = app.unattended(_ASKS_NOTHING)
    results = examine(first_app)
    fixed = _fix(worst_first(results)) if args.fix else []
    if fixed:
        again = app.unattended(_ASKS_NOTHING)
        again.passphrase = first_app.passphrase  # the first reading removed the passphrase from the environment
        results = examine(again)
    findings = worst_first(results)
    if args.bundle is not None:
        _write_bundle(args.bundle, app, results)
    code = ExitCode.CONFIG if any(each.level == "error" for each in findings) else ExitCode.OK
    if app.out.is_json:
        app.out.json(
            {
                "exitCode": code,
                "findings": [finding_json(each, app.program) for each in findings],
                "mended": fixed,
                "checks": {result.check.id: result.took_ms for result in results},
                "results": [_result_json(result) for result in results],
            }
        )
        return code
    for line in fixed:
        app.out.line(f"fixed: {_printable(line)}")
    for result in results:
        app.out.line(_printable(f"{f'[{result.status}]':<{_MARK}}{result.check.label}: {result.examined}"))
    app.out.line()
    for each in findings:
        _show_finding(each, app)
    if not findings:
        app.out.line("No problems found.")
    if args.bundle is not None:
        app.out.note(f"Wrote {args.bundle}. It contains no secrets, and only you can read it.")
    return code


def finding_json(finding: Finding, program: str) -> dict[str, object]:
    """Return a finding as JSON fields."""
    hint = finding.hint.replace("{prog}", program) if finding.hint is not None else None
    return {
        "id": finding.id,
        "level": finding.level,
        "message": finding.message,
        "why": finding.why,
        "hint": hint,
        "fixable": finding.fix is not None,
    }


def _result_json(result: Result) -> dict[str, object]:
    return {
        "id": result.check.id,
        "label": result.check.label,
        "status": result.status,
        "saw": result.examined,
        "findings": [each.id for each in result.findings],
        "tookMs": result.took_ms,
    }


def _fix(findings: Sequence[Finding]) -> list[str]:
    fixed = []
    for each in findings:
        if each.fix is None:
            continue
        try:
            fixed.append(each.fix())
        except (OSError, PorticoError) as error:
            fixed.append(f"could not fix {each.id}: {error}")
    return fixed


def _printable(line: str) -> str:
    """Return `line` without control characters: a finding quotes names from files that other people may have written."""
    return "".join(each if each.isprintable() else "?" for each in line)


def _show_finding(finding: Finding, app: App) -> None:
    app.out.line(_printable(f"{finding.level}: {finding.message} [{finding.id}]"))
    for text in (finding.why, finding.hint.replace("{prog}", app.program) if finding.hint else None):
        for line in text.split("\n") if text else ():
            app.out.line(_printable(f"  {line}"))
    if finding.fix is not None:
        app.out.line(f"  To fix this: {app.program} doctor --fix")


def _write_bundle(place: str, app: App, results: Sequence[Result]) -> None:
    """Write the archive: the findings, versions, the accounts without their tokens, and the end of the gateway's log.

    The archive does not contain the config, because the user decides whether to show it.

    Raises:
        StoreError: the archive could not be written.
    """
    import tarfile  # imports every compression module

    parts = {
        "findings.json": json.dumps([_bundled_result(result) for result in results], indent=2),
        "versions.json": json.dumps(_versions(), indent=2),
        "sign-ins.json": json.dumps(_sign_ins(app), indent=2),
        "gateway.log": _end_of_log(app.paths.gateway_log),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in parts.items():
            data = redact(text).encode()
            entry = tarfile.TarInfo(f"portico-report/{name}")
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    path = Path(place)
    # Not `write_private`, which would change the mode of the user's folder.
    try:
        write_in_place(path, packed.getvalue(), mode=FILE_MODE)
    except OSError as error:
        advice = "Name another file: {prog} doctor --bundle FILE"
        raise file_error(f"Could not write {path}.", error, advice=advice) from error


def _bundled_result(result: Result) -> dict[str, object]:
    findings = [{"id": each.id, "level": each.level, "message": each.message, "why": each.why} for each in result.findings]
    return {
        "check": result.check.id,
        "status": result.status,
        "saw": result.examined,
        "tookMs": result.took_ms,
        "found": findings,
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import distributions

    own = {"portico": __version__, "python": sys.version.split()[0], "system": platform.platform()}
    return {**own, **{each.name: each.version for each in distributions()}}


def _sign_ins(app: App) -> list[dict[str, object]]:
    try:
        profiles = app.token_store.profiles()
    except PorticoError:
        return []
    words = [health_now(each, app.clock).status for each in profiles]
    return [
        {"provider": each.provider, "region": each.region, "store": each.store, "health": word}
        for each, word in zip(profiles, words, strict=True)
    ]


def _end_of_log(path: Path) -> str:
    try:
        return read_end(path, _LOG_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"could not read the log: {error.strerror}"
