"""Keys of an OpenClaw config that Portico ignores without a warning.

Source: https://docs.openclaw.ai/gateway/configuration (February 2026), https://docs.openclaw.ai/gateway/config-tools/custom-providers
(November 2026), and OpenClaw's strict schema, `src/config/zod-schema*.ts`.
"""

from __future__ import annotations

from typing import Final

INCLUDE: Final = "$include"
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
    "cli",
    "secrets",
    "mcp",
    "proxy",
    "crestodian",
    "$schema",
)
AGENT_DEFAULTS: Final = (
    "imageModel",
    "imageGenerationModel",
    "pdfModel",
    "pdfMaxBytesMb",
    "pdfMaxPages",
    "imageMaxDimensionPx",
    "additionalSystemPrompt",
    "embeddedPi",
    "workspace",
    "repoRoot",
    "skipBootstrap",
    "bootstrapMaxChars",
    "bootstrapTotalMaxChars",
    "bootstrapPromptTruncationWarning",
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
AUTH: Final = ("cooldowns",)
AGENTS: Final = ("list",)
PLUGINS: Final = ("slots", "installs")
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
MODELS: Final = ("bedrockDiscovery", "proxy")
PROVIDER: Final = ("auth", "injectNumCtxForOpenAICompat", "maxTokens", "request", "timeoutSeconds")
MODEL: Final = ("compat", "contextTokens")
MODEL_SETTINGS: Final = ("params", "streaming")
PLUGIN_ENTRY: Final = ("hooks", "subagent")
API_KINDS: Final = (
    "google-generative-ai",
    "github-copilot",
    "bedrock-converse-stream",
    "ollama",
    "openai-codex-responses",
    "azure-openai-responses",
    "openai-chatgpt-responses",
    "google-vertex",
    "pi-messages",
)
CORRECTED_PROVIDER: Final = ("baseUrl", "api", "auth", "authHeader", "apiKey", "headers")  # in `models.json`
