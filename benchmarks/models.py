"""`models list` where the configuration has 500 models."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from figures import Figure, compile_everything, environment, launcher, ratios

PROVIDERS, EACH = 25, 20


def measure(rounds: int = 11) -> list[Figure]:
    """As a table and as JSON, against the interpreter doing nothing."""
    compile_everything()
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as folder:
        config = Path(folder) / "portico.json5"
        config.write_text(json.dumps(a_config(), indent=2), encoding="utf-8")
        portico = launcher(Path(folder), "portico", "portico.cli.main")
        env = environment(PORTICO_STATE_DIR=f"{folder}/state", PORTICO_CONFIG=str(config))
        commands = {"models list": [*portico, "models", "list"], "models list --json": [*portico, "models", "list", "--json"]}
        found = ratios([sys.executable, "-c", "pass"], commands, env, rounds=rounds)
    name = f"with {PROVIDERS * EACH} models"
    return [Figure(f"portico {command} {name}", ratio, 15, "x", "x = `python -c pass`") for command, ratio in found.items()]


def a_config() -> dict[str, object]:
    """Providers with models and prices of their own."""
    cost = {"input": 0.3, "output": 1.2, "cacheRead": 0.03, "cacheWrite": 0.375}
    models = [
        {"id": f"model-{number}", "name": f"Model {number}", "cost": cost, "contextWindow": 200_000} for number in range(EACH)
    ]
    providers = {
        f"provider{number}": {"baseUrl": f"https://p{number}.example/v1", "api": "openai-completions", "models": models}
        for number in range(PROVIDERS)
    }
    return {"models": {"providers": providers}}


if __name__ == "__main__":
    print(*measure(), sep="\n")
