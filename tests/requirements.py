"""What Portico promises, entry by entry, and where each promise comes from.

A test claims an entry with `@pytest.mark.requirement("E4")`. `tests/test_requirements.py` holds the two against each other both
ways: an entry without a test fails, and so does a claim of an entry that is not here. `E` entries are faults that a client of this
kind is known to meet; `P` entries are what the provider page lets a user do; `S` entries are Portico's own promises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Requirement:
    """A promise: where it comes from and what must happen. `why_not` says why it cannot apply, in place of a test."""

    source: str
    behaviour: str
    why_not: str | None = None


REQUIREMENTS: Final[dict[str, Requirement]] = {
    # --- the provider page ---------------------------------------------------------------------------------------------
    "P1": Requirement("provider page: models", "the catalog knows both M2.1 models, with context, output limit and prices"),
    "P2": Requirement("provider page: OAuth", "the page's three commands sign in, Global and CN, without an API key"),
    "P3": Requirement(
        "provider page: API key", "a key sets MiniMax up: by the wizard, the page's block, or the environment alone"
    ),
    "P4": Requirement(
        "provider page: fallback", "where the primary fails or has no credential, the fallback answers, and the message says so"
    ),
    "P5": Requirement("provider page: LM Studio", "a local model answers over openai-responses, without a key"),
    "P6": Requirement(
        "provider page: wizard", "`configure`, Model/auth, MiniMax M2.1, default model: MiniMax is set up without editing JSON"
    ),
    "P7": Requirement("provider page: options", "each option of the page changes the request or a figure"),
    "P8": Requirement("provider page: notes", "a model reference is `provider/model`"),
    "P9": Requirement(
        "provider page: notes", "what is left of a plan is shown for a sign-in and for a plan key, and never inverted"
    ),
    "P10": Requirement(
        "provider page: notes", "requests are recorded with their cost at the configured prices, which a user can correct"
    ),
    "P11": Requirement("provider page: notes", "an account without a plan is shown where one is bought, in its own region"),
    "P12": Requirement("provider page: notes", "`models list` shows the models, `models set` changes the default"),
    "P13": Requirement(
        "provider page: troubleshooting", "an unknown model says which piece is missing, and the fixes that the page names"
    ),
    "P14": Requirement("provider page: troubleshooting", "model ids are case-sensitive; a wrong case gets a did-you-mean"),
    "P15": Requirement("provider page: troubleshooting", "after each fix of an unknown model `models list` shows the model"),
    "P16": Requirement("README: always signed in", "tokens are refreshed in the background, and on demand when nothing runs"),
    # --- the callback server -------------------------------------------------------------------------------------------
    "E1": Requirement("RFC 8252 section 8.3", "every bound socket is loopback, whatever container marks and HOST/BIND say"),
    "E2": Requirement("RFC 8252 section 7.3", "the listener is bound before the URL is built; the URL names its port"),
    "E3": Requirement("gemini-cli#22767", "a fixed port that is taken is a clear error in under a second, with no browser"),
    "E4": Requirement("CVE-2025-66416", "a request with any Host but the listener's own is refused; the login goes on"),
    "E5": Requirement("RFC 8252 section 8.10", "a method the callback does not take gets 405; the login goes on"),
    "E6": Requirement("google-auth-oauthlib#28", "any other path gets 404; the login goes on"),
    "E7": Requirement(
        "RFC 9700 section 4.7.1", "a wrong, empty, missing, stale or cut state is refused before any token request"
    ),
    "E8": Requirement("CVE-2026-42073", "`error=` counts only with the right state, and then ends the login as denied"),
    "E9": Requirement(
        "RFC 6749 section 3.1", "duplicate or contradictory parameters are never used; with the right state they end the login"
    ),
    "E10": Requirement("RFC 9207 section 2.4", "`iss` must match exactly when present, and must be present when advertised"),
    "E11": Requirement("RFC 6749 section 4.1.2", "a good callback sent many times makes one token request"),
    "E12": Requirement("RFC 8252 section 7.3", "a browser that closes before reading the page does not lose the login"),
    "E13": Requirement("RFC 9700 section 4.11", "oversized and malformed queries are refused or decoded right, never a crash"),
    "E14": Requirement("CVE-2025-62800", "no page ever shows received text"),
    "E15": Requirement("OAuth 2.1 section 2.3.6", "every answer carries no-store, no-referrer, a CSP and nosniff; no CORS"),
    "E16": Requirement("OAuth 2.1 section 2.3.6", "the address bar is left without the code; a reload is harmless"),
    "E17": Requirement("CWE-400", "slow, half-open and huge requests do not keep the true redirect waiting"),
    "E18": Requirement("RFC 8252 section 8.3", "an unanswered login ends with advice, its socket closed"),
    "E19": Requirement("gh auth login", "Ctrl-C at any step exits 130 and leaves nothing behind"),
    "E20": Requirement("RFC 9700 section 4.7.1", "two logins at once do not cross"),
    "E21": Requirement("CVE-2025-6514", "a missing, failing, hanging or hostile browser launcher never blocks the login"),
    "E22": Requirement(
        "CVE-2026-4519", "an authorization URL that is not plain https (or loopback http) is never opened or shown"
    ),
    "E23": Requirement("RFC 8252 appendix B", "SSH, containers and no display get the device flow or a pasted redirect"),
    "E24": Requirement("aiohttp: AppRunner.cleanup", "the callback server is gone within two seconds of the end"),
    "E25": Requirement("asyncio debug mode", "no transport is left open, no exception unretrieved"),
    # --- token endpoint, discovery, device flow ------------------------------------------------------------------------
    "E26": Requirement("RFC 6749 section 5.2", "each error code has its own outcome; unknown ones are shown escaped and capped"),
    "E27": Requirement("authlib: refresh_token", "an error page or a reply without `error` leaves the stored tokens as they are"),
    "E28": Requirement("RFC 6749 section 5.1", "a token reply that is not one is refused whole, and never stored"),
    "E29": Requirement("RFC 6749 section 6", "a refresh without a new refresh token keeps the old one"),
    "E30": Requirement("RFC 9700 section 4.12", "a redirect of a token request is not followed, and no secret is sent on"),
    "E31": Requirement("RFC 6749 section 10.9", "bad certificates are refused; SSL_CERT_FILE and proxies are honoured"),
    "E32": Requirement("claude-code#93014", "a lost answer is requested again immediately; a server that hangs meets a deadline"),
    "E33": Requirement("RFC 8414 section 3.3", "metadata with a foreign issuer or a hostile endpoint is refused"),
    "E34": Requirement("RFC 7636 section 4", "every flow has its own S256 challenge, made from the system's randomness"),
    "E35": Requirement("RFC 8628 section 3.5", "pending, slow_down, denied, expired and lost polls behave as the RFC says"),
    # --- storage -------------------------------------------------------------------------------------------------------
    "E36": Requirement(
        "python keyring", "every way a keyring can fail is named with its class and the next step, in bounded time"
    ),
    "E37": Requirement("entireio/cli#2495", "the store is probed before a browser opens, and a finished login is never lost"),
    "E38": Requirement("cli/cli#8954", "storage is never weaker than was asked for, and a read never switches the store"),
    "E39": Requirement("python keyring#355", "records of any size come back whole, or are refused clearly"),
    "E40": Requirement("RFC 9700 section 4.14", "an overwritten token is left nowhere"),
    "E41": Requirement("claude-code#79407", "a kill at any step of a write leaves the old or the new record whole"),
    "E42": Requirement("openclaw#88028", "a full, read-only or failing disk is named, and never taken for an empty store"),
    "E43": Requirement(
        "deepchat#2304", "a damaged file is kept aside, other profiles survive, and the message says how to recover"
    ),
    "E44": Requirement(
        "CVE-2025-46327", "no file is ever wider than 0600; links, FIFOs and wide folders are tightened or refused"
    ),
    "E45": Requirement("openclaw#3611", "two processes writing different profiles lose no update"),
    "E46": Requirement("openclaw#63470", "a file of a future format is refused without damage"),
    "E47": Requirement("RFC 7009", "logout revokes, deletes every copy, and says what it could not do"),
    "E48": Requirement(
        "CWE-532", "no repr, pickle, traceback with its locals, row or database of Portico's shows a secret, nor what was asked"
    ),
    # --- refresh -------------------------------------------------------------------------------------------------------
    "E49": Requirement(
        "authlib: ensure_active_token", "callers in one process at expiry make one request, however short tokens live"
    ),
    "E50": Requirement("openclaw#26322", "processes at expiry make one request and get the same token"),
    "E51": Requirement("claude-code#93014", "a kill at any step of a refresh leaves a sign-in, or says that its answer was lost"),
    "E52": Requirement("authlib: refresh_token", "a caller that leaves in the middle of a refresh does not lose it"),
    "E53": Requirement(
        "authlib: update_token",
        "new tokens that no store takes are served from memory, never the old ones, and stored when possible",
    ),
    "E54": Requirement("codex#46028", "a refused token that another process replaced is no logout; a true refusal is met once"),
    "E55": Requirement("codex#46028", "a process that was idle while others refreshed sends no old token"),
    "E56": Requirement("Meridian#897", "sleep ends a request that hangs, and a token that ended meanwhile is replaced on waking"),
    "E57": Requirement("copilot-api#170", "a wrong or changed clock makes no storm and lengthens no token's life"),
    "E58": Requirement("openclaw#26322", "while the server is down tokens serve to their end, and requests grow rare"),
    "E59": Requirement("openclaw#8405", "a timer and a caller at the same instant make one request"),
    "E60": Requirement("hermes#92606", "a new sign-in wins over a refresh under way, which returns no other account's token"),
    "E61": Requirement(
        "openclaw#57107", "a hung refresh elsewhere keeps no caller from a good token, and is named in bounded time"
    ),
    "E62": Requirement("openclaw#57107", "where nothing can be locked or noted nothing is sent, and the place is named"),
    # --- gateway -------------------------------------------------------------------------------------------------------
    "E63": Requirement(
        "CVE-2026-28472",
        "a request without a valid gateway key is rejected, even if it shows a key elsewhere, and no provider is contacted",
    ),
    "E64": Requirement("CVE-2025-66416", "what a web page can send is refused on every path, and no CORS header is ever sent"),
    "E65": Requirement(
        "CVE-2026-32871", "no path and no query of a client changes the host or the path that a credential goes to"
    ),
    "E66": Requirement("RFC 9110 section 7.6.1", "headers pass in neither direction unless they are meant to"),
    "E67": Requirement(
        "RFC 9112 section 6.3", "a message whose length can be read in two ways is refused; one that is odd stays one"
    ),
    "E68": Requirement(
        "hermes-agent: hermes_cli/proxy/server.py",
        "a stream passes as it comes, ends as an abort where it broke off, and is given up when its client goes",
    ),
    "E69": Requirement(
        "claude-code-proxy#42", "requests refused with an old token make one refresh and are each sent again once"
    ),
    "E70": Requirement("aiohttp: X-Api-Key on redirects", "a provider's redirect is not followed, and no credential goes there"),
    "E71": Requirement("RFC 9110 section 15.5.14", "bodies and streams take bounded memory, however long or slow they are"),
    "E72": Requirement(
        "RFC 9110 section 15.6", "every failure of a provider or of the network is reported with its cause and without secrets"
    ),
    "E73": Requirement("openclaw#21077", "a taken port, a second gateway, signals and proxies do what the documents say"),
    "E74": Requirement("openclaw#57107", "after signing out and in as another user, requests carry only the new account's token"),
    # --- command line --------------------------------------------------------------------------------------------------
    "E75": Requirement(
        "openclaw#63470",
        "a configuration error names file and line and shows no secret; no unknown key is ignored silently",
    ),
    "E76": Requirement(
        "authlib changelog 1.8",
        "a URL of the configuration with user, fragment, foreign letters, final dot, port 0 or false loopback is refused",
    ),
    "E77": Requirement(
        "clig.dev: output",
        "with --json only JSON is on stdout; remarks, links and codes are on stderr; a token on a terminal is warned of",
    ),
    "E78": Requirement("README: exit codes", "exit codes tell apart what a script must tell apart"),
    "E79": Requirement("NO_COLOR, CWE-838", "odd terminals, locales, streams, homes and paths change nothing, or it says why"),
    "E80": Requirement("docs/architecture.md: start-up", "help and version import no HTTP library and no keyring"),
    "E81": Requirement(
        "openclaw#66952", "status never calls an ended sign-in ok, and distinguishes ended, rejected, unanswered and unreadable"
    ),
    "E82": Requirement(
        "Hypothesis", "whatever a query, a reply, an index, a config or a path holds, it is read or refused in words"
    ),
    "E83": Requirement("CVE-2026-34525", "dependency floors hold, and lowering one fails a test"),
    # --- no call billed twice, nothing overwritten ------------------------------------------------------------------------
    "E84": Requirement(
        "RFC 9110 section 9.2.2",
        "once a byte of a POST was written, a broken connection never sends it to the same provider again, and the response says so",
    ),
    "E85": Requirement("aiohttp: StreamReader.read", "a body that arrives in several TCP segments is read whole by every reader"),
    "E86": Requirement(
        "RFC 6749 section 10.3",
        "a sign-in stored while another waits is never overwritten without --replace; new tokens with no place are revoked",
    ),
    "E87": Requirement(
        "openclaw#57107",
        "deleting a profile or a model removes or ignores each reference to it, and `doctor` reports one that dangles",
    ),
    "E88": Requirement(
        "gcloud auth login", "a sign-in never changes an explicit order, and says which account is in use and which one was"
    ),
    "E89": Requirement("CWE-732", "an import changes neither the mode nor the owner of another program's folder or file"),
    # --- no account is signed out without need -----------------------------------------------------------------------------
    "E90": Requirement(
        "RFC 6749 section 5.1",
        "a refresh answered 200 with an access token is committed; an odd lifetime, scope or missing type is a finding of `doctor`",
    ),
    "E91": Requirement(
        "RFC 6749 section 7.1",
        "tokens of another type or account are refused and revoked, and the token they replaced is not sent again",
    ),
    "E92": Requirement(
        "RFC 9110 section 6.6.1", "an absolute lifetime counts from the reply's `Date`, however wrong this machine's clock is"
    ),
    "E93": Requirement(
        "RFC 8628 section 3.5",
        "a 200 that holds no usable tokens ends a sign-in with its reason; nothing is polled again, and what it gave is revoked",
    ),
    "E94": Requirement("RFC 6749 section 5.1", "an import with an odd side field keeps its tokens"),
    "E95": Requirement(
        "signal(7)", "SIGTERM and SIGHUP in mid-refresh store the new tokens, as SIGINT does, in every command and in the library"
    ),
    "E96": Requirement(
        "claude-code#93014",
        "no number of lost answers ends a sign-in: its token is sent again after 1, 5, 30 and then each 60 minutes",
    ),
    "E97": Requirement(
        "RFC 6749 section 5.2", "only ten error words, and only at 400 or 401, end a sign-in; any other word or status passes"
    ),
    "E98": Requirement(
        "RFC 8628 section 3.5", "`access_denied` and `expired_token` end a sign-in in progress, never a stored one"
    ),
    "E99": Requirement("RFC 9110 section 10.2.3", "a Retry-After of any length, and a date with `-0000`, is kept"),
    "E100": Requirement(
        "RFC 9110 section 6.6.1",
        "a clock that is ahead makes no storm of refreshes, and one that is behind no token that looks good",
    ),
    "E101": Requirement(
        "RFC 6750 section 3.1",
        "a token answered 403, or 200 with `base_resp` 1004, gets one refresh as at 401; a 403 about rights or a model gets none",
    ),
    "E102": Requirement(
        "Secret Service API: prompts",
        "a store operation uses one connection, unlocks an item before deleting it, and waits while a prompt is open",
    ),
    "E103": Requirement(
        "Secret Service API: collections",
        "a read creates no collection; a dismissed prompt, a locked keyring and a missing collection have different errors",
    ),
    "E104": Requirement("gnome-keyring-daemon(1)", "a gnome-keyring that was started before `--unlock` is named for what it is"),
    "E105": Requirement(
        "D-Bus specification: session bus", "without DBUS_SESSION_BUS_ADDRESS the bus in XDG_RUNTIME_DIR is tried"
    ),
    "E106": Requirement(
        "openclaw 2026.9.6", "an import reads where OpenClaw keeps sign-ins today, and names an older file as retired"
    ),
    "E107": Requirement("openclaw 2026.9.6", "OpenClaw's newer auth choices are known by their names"),
    "E108": Requirement(
        "RFC 8628 section 3.5", "a device code is polled a last time just before it expires, and no backoff goes past that"
    ),
    "E109": Requirement(
        "RFC 8628 section 3.2", "an interval in digits is read and capped, and a code that is not ASCII is shown"
    ),
    "E110": Requirement("RFC 7009 section 2.1", "a sign-out without its lock still revokes"),
    "E111": Requirement("proper-lockfile", "another tool's lock that its owner left behind does not block forever"),
    "E112": Requirement("curl: proxy", "a malformed proxy is an error that names its variable and its fault"),
    "E113": Requirement("systemd.exec: Environment=", "a proxy with a password is never left out of a service without a word"),
    "E114": Requirement("curl: NO_PROXY", "`*.host` and `host:443` in NO_PROXY match as people mean them"),
    "E115": Requirement("wslu", "where a launcher fails the next is tried, on WSL with only Linux launchers too"),
    # --- other users of the machine, hostile folders, hostile answers ----------------------------------------------------
    "E116": Requirement(
        "CWE-532",
        "a secret of the request that a server repeats in its answer is written nowhere: token endpoint, device, revocation",
    ),
    "E117": Requirement("CWE-427", "no child is ever started with the current folder on its path"),
    "E118": Requirement(
        "RFC 6749 section 10.12",
        "the browser that Portico starts shows no other user the authorization URL: a start address works once, for this user",
    ),
    "E119": Requirement(
        "RFC 8252 section 8.3",
        "start address and callback are taken from a process of the same user only, if Linux shows whose it is",
    ),
    "E120": Requirement(
        "CVE-2026-22174", "the owner and program of a port that another program holds are named, and what to do with the keys"
    ),
    "E121": Requirement(
        "CVE-2022-24765",
        "plugin code that belongs to, or can be replaced by, another user is refused, whichever parent folder lets her",
    ),
    "E122": Requirement(
        "ssh_config(5): permissions",
        "a config, `.env`, `models.json`, include, base or passphrase file that another user can replace is warned of, and a finding",
    ),
    "E123": Requirement("CWE-770", "requests at once, and their body bytes in memory, are bounded for a gateway key and in all"),
    "E124": Requirement(
        "CVE-2007-6750", "a body that comes slowly gives its place back within seconds, and blocks no other client"
    ),
    "E125": Requirement("CWE-407", "a body that is slow to parse keeps no other client waiting"),
    "E126": Requirement("CWE-770", "no name that a client gives is kept longer, or in more kinds, than a bound allows"),
    "E127": Requirement(
        "systemd.service: TimeoutStopSec=", "`gateway stop` and SIGTERM end a gateway within 5 s, whatever it waits for"
    ),
    "E128": Requirement("openclaw#57107", "a gateway binds nothing before it can answer, and ends when its state folder is gone"),
    "E129": Requirement("CVE-2003-0063", "on a terminal a model's controls are made visible; in a pipe the text stays as it is"),
    "E130": Requirement("CWE-276", "every folder that Portico makes for its state or config is 0700, its parents too"),
    "E131": Requirement(
        "RFC 6749 section 4.1.2.1", "a genuine callback that is refused ends the sign-in at once, as denied or as what it is"
    ),
    "E132": Requirement("CWE-214", "no child gets the store's passphrase, nor the name of its file"),
    "E133": Requirement("CWE-400", "a FIFO, a device or a file without an end is refused wherever a file is read"),
    "E134": Requirement("CWE-407", "10,000 unknown config keys are reported in linear time"),
    "E135": Requirement("CWE-209", "an unquoted secret, however short, is not shown in a config error"),
    "E136": Requirement(
        "OpenID Connect Core section 11",
        "`offline_access` is asked for with `prompt=consent`, and a reply without a refresh token is reported",
    ),
    "E137": Requirement(
        "OpenID Connect Core section 3.1.2.1", "where `openid` is asked for a nonce goes along, and the ID token must repeat it"
    ),
    "E138": Requirement("RFC 9126 section 5", "where the metadata requires it, the authorization request is pushed first"),
    "E139": Requirement("RFC 7009 section 2.2.1", "a revocation answered 401 is reported as what it is"),
    "E140": Requirement("RFC 8628 section 3.5", "a web page among the polls is not reported as a missing approval"),
    "E141": Requirement(
        "openclaw#23516", "only a provider's answer makes a credential wait; a locked keyring, a busy lock or a bug here does not"
    ),
    "E142": Requirement(
        "openclaw#24158", "a new sign-in, a changed key or config, or an unlocked keyring is used by the very next request"
    ),
    "E143": Requirement(
        "openclaw#3604",
        "a 403 counts for its model alone unless it says otherwise, and advice about the key needs a reply about it",
    ),
    "E144": Requirement(
        "RFC 6585 section 4",
        "when all candidates fail, the best reason is the status, at the first request and at every later one",
    ),
    "E145": Requirement("openclaw#64840", "a fallback's own refusal never hides the first provider's error"),
    "E146": Requirement(
        "openclaw#24064", "fallbacks answer for the default model alone; a model that was named is never replaced"
    ),
    "E147": Requirement(
        "anthropic-sdk-python: _base_client.py", "an error keeps the fields, headers and the whole message that programs read"
    ),
    "E148": Requirement(
        "HTML Standard section 9.2.7", "comments that keep a stream alive reach the client before the first event does"
    ),
    "E149": Requirement("systemd.service: Restart=", "a first load of the config that fails for any reason is tried again"),
    "E150": Requirement(
        "curl(1): NO_PROXY",
        "behind a proxy no prompt and no gateway key goes to it: loopback is excepted for every child and unit",
    ),
    "E151": Requirement("curl(1): ALL_PROXY", "`ALL_PROXY` is honoured or refused, never ignored"),
    "E152": Requirement("docs/how-to/headless.md", "the store that the config chooses is the one that every command uses"),
    "E153": Requirement(
        "RFC 1918 section 3", "a plain-http server of the local network is accepted or refused by one rule, with one warning"
    ),
    "E154": Requirement("RFC 8252 section 7.3", "the redirect path is `/callback` unless it is chosen; only the port varies"),
    "E155": Requirement(
        "openclaw docs: gateway/configuration", "an `apiKey` that is the name of a variable is its value, and never sent as it is"
    ),
    "E156": Requirement(
        "openclaw docs: gateway/configuration", "a model's own `api` and `headers`, and how a custom provider sends its key, hold"
    ),
    "E157": Requirement("openclaw docs: start/wizard", "an API key is checked at the base URL that is configured"),
    "E158": Requirement(
        "RFC 3986 section 3", "a base URL that cannot be right is found by `config validate`, which says what to write"
    ),
    "E159": Requirement(
        "anthropic-sdk-python: _client.py", "a doubled, missing or misspelt `/v1` is answered with the path that was meant"
    ),
    "E160": Requirement("pathlib: Path.expanduser", "a path of an unknown user is a clear error wherever a path is read"),
    "E161": Requirement("portico exec: help", "a temporary gateway takes any free port"),
    "E162": Requirement("RFC 9110 section 7.8", "an offer to upgrade the protocol is ignored, and the request answered"),
    "E163": Requirement(
        "RFC 9110 section 15.5",
        "an unknown content coding, a refused Origin and an empty default model are explained in `message`",
    ),
    "E164": Requirement(
        "powertop(8): wakeups", "an idle gateway looks at the clock and at a few files' times, and does nothing else"
    ),
    "E165": Requirement(
        "platform.minimax.io: text-anthropic-api", "thinking and effort are asked of each MiniMax family in the form it takes"
    ),
    "E166": Requirement(
        "platform.claude.com: extended thinking", "thinking and effort are asked of each Claude family in the form it takes"
    ),
    "E167": Requirement(
        "platform.openai.com: chat completions", "a reasoning model is asked with `max_completion_tokens` and `reasoning_effort`"
    ),
    "E168": Requirement(
        "platform.minimax.io: text-anthropic-api", "the emulator refuses, with 400 and 2013, what the documented contract refuses"
    ),
    "E169": Requirement(
        "platform.minimax.io: models",
        "the catalog knows today's models, what is retired, and what is doubtful, with its sources",
    ),
    "E170": Requirement("pi-ai 1.6.0: data/minimax.json", "a price that depends on the input's size is counted at its tier"),
    "E171": Requirement("platform.claude.com: prompt caching", "a cache write of one hour is counted at its own price"),
    "E172": Requirement(
        "MiniMax-AI/cli#175",
        "1004 or 2062 from the older usage endpoint spends no refresh, signs no account out and is no verdict",
    ),
    "E173": Requirement("platform.minimax.io: m-plan", "a usage window that has not started is shown as that"),
    "E174": Requirement(
        "platform.minimax.io: m-plan", "the plan, its page and its keys are named as the provider names them today"
    ),
    "E175": Requirement(
        "openclaw#42721",
        "`doctor` finds that you are not signed in, a default without credential, a dangling order, a base URL of another API",
    ),
    "E176": Requirement("brew doctor: help", "`doctor` prints a line for each check, and `--json` a status for each"),
    "E177": Requirement("openclaw#66952", "`auth status` is ok only where a request would succeed as far as can be known"),
    "E178": Requirement("gh auth status: help", "being signed out is reported as such, with the command that signs in"),
    "E179": Requirement(
        "docs/errors",
        "each remedy that is printed names commands that exist, and is run by a test in the situation that prints it",
    ),
    "E180": Requirement(
        "README: gateway", "real clients work through the gateway, with a tool call, and end at once when the plan is used up"
    ),
    "E181": Requirement(
        "openclaw docs: gateway/configuration-examples",
        "config files as people publish them are read and edited, as base and as own",
    ),
    # --- Portico's own -------------------------------------------------------------------------------------------------
    "S1": Requirement("docs/architecture.md: floors", "a module imports only from its own floor or below"),
    "S2": Requirement("docs/architecture.md: plugins", "a plugin that is not enabled is never imported"),
    "S3": Requirement("docs/architecture.md: plugins", "one plugin that fails does not stop the others, and is reported"),
    "S4": Requirement("docs/architecture.md: start-up", "help, version and a fresh token import no HTTP library"),
    "S5": Requirement("THREAT_MODEL.md", "no canary secret is in any output, log, file, argv or environment of a test run"),
    "S6": Requirement("docs/architecture.md: config", "an edit changes no byte of the config file but its own"),
    "S7": Requirement("docs/architecture.md: emulator", "the emulator behaves as MiniMax's clients show the real service does"),
    "S8": Requirement("docs/architecture.md: refresh", "a token is refreshed once, under the lock, and stored before it is used"),
    "S9": Requirement("README: gateway", "gateway run, start, stop, status and restart say truly what they did"),
    "S10": Requirement(
        "README: make test", "`make test` passes with Python, git and make alone, and skips by name what cannot run there"
    ),
    "S11": Requirement(
        "README: make test", "no test uses the default port, or the keyring, terminal, home or environment of the user"
    ),
    "S12": Requirement("README: make test", "`make` without venv or pip names the package to install and exits 2"),
    "S13": Requirement("pyproject.toml: classifiers", "every supported CPython passes, and no database connection is left open"),
}
