"""Keys of an OpenClaw configuration that Portico has no use for and passes over in silence.

Source: https://docs.openclaw.ai/gateway/configuration (February 2026).
"""

from __future__ import annotations

from typing import Final

SECTIONS: Final = (
    "meta",
    "wizard",
    "diagnostics",
    "logging",
    "update",
    "browser",
    "ui",
    "nodeHost",
    "tools",
    "bindings",
    "broadcast",
    "audio",
    "media",
    "messages",
    "commands",
    "approvals",
    "session",
    "cron",
    "hooks",
    "web",
    "channels",
    "discovery",
    "canvasHost",
    "talk",
    "memory",
    "skills",
    "$schema",
)
AGENT_DEFAULTS: Final = (
    "imageModel",
    "workspace",
    "repoRoot",
    "skipBootstrap",
    "bootstrapMaxChars",
    "userTimezone",
    "timeFormat",
    "envelopeTimezone",
    "envelopeTimestamp",
    "envelopeElapsed",
    "contextTokens",
    "cliBackends",
    "contextPruning",
    "compaction",
    "memorySearch",
    "thinkingDefault",
    "verboseDefault",
    "elevatedDefault",
    "blockStreamingDefault",
    "blockStreamingBreak",
    "blockStreamingChunk",
    "blockStreamingCoalesce",
    "humanDelay",
    "timeoutSeconds",
    "mediaMaxMb",
    "typingIntervalSeconds",
    "typingMode",
    "heartbeat",
    "maxConcurrent",
    "subagents",
    "sandbox",
)
GATEWAY: Final = (
    "mode",
    "bind",
    "customBindHost",
    "auth",
    "tls",
    "remote",
    "controlUi",
    "tailscale",
    "reload",
    "http",
    "trustedProxies",
    "nodes",
    "tools",
)
MODEL: Final = ("api", "headers", "compat")
API_KINDS: Final = ("google-generative-ai", "github-copilot", "bedrock-converse-stream")
