"""Commands that are refused, the remedy, and the same command as it is right: one row each, without any server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.minimax_session import sealed_store
from tests.remedies.scenario import scenario, typed

if TYPE_CHECKING:
    from tests.remedies.scenario import Desk


@dataclass(frozen=True)
class Row:
    """`refused` prints the templates `prints`; a person types `then`, or the command that the hint names if there is none.

    `before` is typed first. `again`: the refused command ends well after it. `env` holds for all but `then`, which has `after`.
    """

    prints: tuple[str, ...]
    refused: str
    then: str | None = None
    before: tuple[str, ...] = ()
    again: bool = False
    env: dict[str, str | None] = field(default_factory=dict)
    after: dict[str, str | None] | None = None


_MODEL: Final = "minimax/MiniMax-M2.1"
ROWS: Final = (
    Row(("Did you mean {}?",), "models set minimax/minimax-m2.1", f"models set {_MODEL}"),
    Row(("{prog} plugins enable {}",), "models list --provider minimax-portal", again=True),
    Row(("--provider {}",), "auth order get", "auth order get --provider minimax"),
    Row(("To see all values: {prog} config get",), "config get no.such", before=("config set gateway.port 18555",)),
    Row(
        (r"write it as `models.providers.minimax.models[0].id`; a dot inside a key is written `\.`",),
        "config get a[",
        r"config get models.providers.a\\.b.models[0].id",
        before=("""config set 'models.providers.a\\.b' '{baseUrl: "http://127.0.0.1:9/v1", models: [{id: "x"}]}'""",),
    ),
    Row(("To change one value without a terminal: {prog} config set KEY VALUE",), "config edit", "config set gateway.port 18555"),
    Row(
        ("set a base: `{prog} config set base ~/.openclaw/openclaw.json`",),
        "config set models.mode '\"merge\"' --write-base",
        "config set --help",
    ),
    Row(("{prog} onboard --auth-choice ID --non-interactive",), "configure --section model", "onboard --help"),
    Row(("{prog} exec -- claude",), "exec", "exec --help"),
    Row(("`{prog} explain` lists them.",), "explain zzzzz"),
    Row(("--probe-provider {}",), "models status --probe --probe-provider zzz", "models status --probe --probe-provider minimax"),
    Row(("--provider {}",), "models list --provider zzz", "models list --provider minimax"),
    Row(("{prog} models aliases list",), "models aliases remove none"),
    Row(("{prog} models fallbacks list",), "models fallbacks remove x/y"),
    Row(("{prog} auth list",), "models status --probe --probe-profile zzz"),
    Row(("See `{prog} plugins list`.",), "plugins info zzz"),
    Row(("Did you mean `{prog} {}`?",), "modls"),
    Row(("See `{prog} --help`.",), "zzz", "--help"),
    Row(("See `{} --help`.",), "auth", "auth --help"),
    Row(("Usage: {}",), "completion", "completion bash"),
    Row(("Did you mean `{} {}`?",), "auth lst", "auth list"),
    Row(
        ("To start it in the background, until this machine restarts: {prog} gateway start",),
        "gateway install",
        "gateway start --help",
    ),
    Row(
        ("Add this line to your crontab (crontab -e):\n  {}\n  Or keep this running: {prog} auth keep-fresh",),
        "auth keep-fresh --install",
        "auth keep-fresh --help",
    ),
    Row(("Install it, or specify its full path.",), "exec --model minimax/MiniMax-M2.1 -- no-such-tool", "exec --help"),
    Row(("Specify the tool too: --from {}",), "auth import --path x --dry-run", "auth import --help"),
    Row(
        ('{prog} config set \'agents.defaults.models["{}"]\' "{}"',),
        "ask --model minimax/MiniMax-M2.1-lightning x",
        """config set 'agents.defaults.models["minimax/MiniMax-M2.1-lightning"]' '{}'""",
        before=(
            f"models set {_MODEL}",
            """config set 'agents.defaults.models' '{"minimax/MiniMax-M2.1": {"alias": "mine", "params": {}}}'""",
        ),
    ),
    Row(
        ("use up to 64 letters, digits and . _ -, for example the name of the tool",),
        "gateway key add 'bad name'",
        "gateway key add --help",
    ),
    Row(("Make one: {prog} gateway key add {}",), "gateway key rotate nobody", "gateway key add --help"),
    Row(
        ("Check the path; `{prog} config set KEY VALUE` makes a new file.",),
        "--config nowhere.json5 models list",
        "config set --help",
    ),
    Row(
        (
            "{prog} models list --all",
            "or set up the provider: {prog} configure; a model newer than this version needs an upgrade, then: {prog} gateway restart",
            "{}\n  or set up the provider: {prog} configure; a model newer than this version needs an upgrade, then: {prog} gateway restart",
        ),
        "models set nothing/at-all",
    ),
    Row(
        (
            "{prog} models set REF",
            "{prog} models fallbacks add REF",
            '{prog} config set \'agents.defaults.models["REF"]\' "{}"',
            "{prog} models status --probe",
        ),
        "configure",
        f"models set {_MODEL}",
    ),
    Row(("Start one: `{prog} emulator run`.",), "emulator env", "emulator run --help"),
    Row(
        ("{prog} models set <provider/model>, or: {prog} onboard --auth-choice minimax-portal",), "ask x", f"models set {_MODEL}"
    ),
    Row(
        ("{prog} config set models.providers.{}.{} {}",),
        "ask --no-fallback --model acme/m x",
        "config set models.providers.acme.baseUrl '\"http://127.0.0.1:9/v1\"'",
        before=("""config set models.providers.acme '{api: "openai-completions", apiKey: "x", models: [{id: "m"}]}'""",),
    ),
    Row(
        ("Other models: {prog} models list --all --json",),
        "ask --no-fallback --model acme/m --effort low x",
        before=(
            (
                "config set models.providers.acme "
                """'{api: "openai-completions", baseUrl: "http://127.0.0.1:9/v1", apiKey: "x", models: [{id: "m", reasoning: false}]}'"""
            ),
        ),
    ),
    Row(
        ("Set {} to a file with the passphrase, or set {}.",),
        "gateway key add tool --store file",
        env={"PORTICO_PASSPHRASE": None},
        after=sealed_store(),
        again=True,
        then="gateway key list",
    ),
    Row(
        ("Put a passphrase there, or unset {}.",),
        "gateway key add tool --store file",
        env={"PORTICO_PASSPHRASE": ""},
        after=sealed_store(),
        again=True,
        then="gateway key list",
    ),
    Row(
        ("There is {}.",),
        "gateway key show nobody",
        "gateway key show tool",
        before=("gateway key add tool --store file",),
        env=sealed_store(),
    ),
    Row(
        ("{prog} gateway key rotate {}, or choose another name",),
        "gateway key add tool",
        before=("gateway key add tool --store file",),
        env=sealed_store(),
    ),
    Row(("Unset {}.",), "gateway key add one", "config get", env={"PYTHON_KEYRING_BACKEND": ""}),
    Row(("set it to 0 to {}",), "gateway start", "gateway status", env={"PORTICO_GATEWAY_PORT": "abc"}, after={}),
    Row(
        ("{prog} models aliases remove {}",),
        f"models aliases add mine {_MODEL}-lightning",
        before=(f"models aliases add mine {_MODEL}",),
        again=True,
    ),
    Row(("did you mean `{}`?",), "config set gatway.port 18555", "config set gateway.port 18555"),
    Row(("Did you mean `{}`?",), "config get gateway.prot", "config get gateway.port", before=("config set gateway.port 18555",)),
    Row(("Use a PNG, JPEG, GIF or WebP file.",), "ask --image notes.txt Hello", "ask --help"),
    Row(("{prog} usage --watch 60",), "usage --watch 1", "usage --help"),
)


def _run(row: Row, desk: Desk) -> None:
    after = row.env if row.after is None else row.after
    for line in row.before:
        desk.ok(*typed(line), env=row.env)
    error = desk.refused(*typed(row.refused), env=row.env)
    if row.then is not None:
        desk.ok(*typed(row.then), env=after)
    else:
        desk.follow(error["hint"], env=after)
    if row.again:
        desk.ok(*typed(row.refused), env=after)


for _number, _row in enumerate(ROWS):
    scenario(*_row.prints, name=f"{_number} portico {_row.refused}")(lambda desk, row=_row: _run(row, desk))
