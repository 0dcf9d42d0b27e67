"""A value that must not be shown, and the redaction of text that may contain such a value.

A token, code, verifier, passphrase or key is a `Secret` from the moment it enters the program. Only `reveal()` returns its text,
so a search for that word finds every exposure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn, SupportsIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

REDACTED: Final = "[redacted]"
# Not passed on to child processes: a browser or a tool does not need the token store.
SECRET_VARIABLES: Final = ("PORTICO_PASSPHRASE_FILE", "PORTICO_PASSPHRASE")
SHORTEST: Final = 6
"""The length of the shortest value of an HTTP form that is hidden, in characters. Hiding shorter ones would change ordinary
words of a response."""

# Field names first, then texts that look like tokens. When in doubt, redact: a leaked secret cannot be made secret again.
_FIELD = (
    r"(?i)(\b(?:access|refresh|id|bearer|api|device|user|client)?[_-]?"
    r"(?:token|secret|password|passphrase|code_verifier|device_code|api[_-]?key|authorization|code|state|verifier|key)"
    r"[\"']?\s*[=:]\s*[\"']?(?:bearer\s+|basic\s+)?)([^\s\"'&,;}]{4,})"
)
_SHAPE = r"\b(?:mmo?[a-z]{0,2}t_|sk-|ory_|gh[opsu]_|eyJ)[A-Za-z0-9._~+/=-]{8,}"
_BEARER = r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{4,}"

# A shorter secret is searched for only in plain text: its encoded forms could be ordinary words.
_FORMS_FROM: Final = 8
# This many characters of a secret in a row count as the secret.
_PART: Final = 12
# Secrets are indexed by adjacent pieces of this length: any run of `_PART` characters contains a whole piece.
_PIECE: Final = 6
_MAX_POSITIONS: Final = 4
_LAYERS: Final = 3
_ESCAPE: Final = r"(?i)%[0-9a-f]{2}|\\u[0-9a-f]{4}|\\x[0-9a-f]{2}|\\.|&#(?:[0-9]{1,7}|x[0-9a-f]{1,6});|&(?:amp|lt|gt|quot|apos);"
_ENTITIES: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_HIGHEST: Final = 0x10FFFF
# Base64 has two alphabets, and form encoding writes a space as `+`.
_ONE_SPELLING: Final = {ord("-"): "+", ord(" "): "+", ord("_"): "/"}


class Secret:
    """Text that `str`, `repr`, `format` and pickling never show.

    The time of a comparison does not depend on the content. A `Secret` is unhashable, so it cannot become a dictionary key that
    a dump
    would print.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text itself. Use it only to send the text, to store it, or in the command whose purpose is to print it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({REDACTED})"

    def __str__(self) -> str:
        return REDACTED

    def __format__(self, spec: str) -> str:
        return format(REDACTED, spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        import hmac  # loads OpenSSL, which most commands do not need

        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a dump of a mapping would show its keys

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")


def redact(text: str, *secrets: Secret) -> str:
    """Return `text` without `secrets` (see `hide`) and without anything that looks like a credential."""
    import re

    text = re.sub(_FIELD, rf"\1{REDACTED}", hide(text, *secrets))
    text = re.sub(_BEARER, rf"\1{REDACTED}", text)
    return re.sub(_SHAPE, REDACTED, text)


def hide(text: str, *secrets: Secret) -> str:
    """Return `text` without `secrets`.

    A secret is found in plain text, and in these encodings: URL, JSON and HTML escapes (up to three times), hex, and base64. It
    is also found inside a longer encoded text. The search ignores case. Twelve characters of a secret in a row count as the
    secret.
    """
    return Hider(secrets)(text)


class Hider:
    """Hides the same secrets in many texts; see `hide`."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        # The longest first: otherwise, if a short token is the beginning of a longer one, the rest of the longer one would stay
        # visible.
        self._secrets = sorted({secret.reveal() for secret in secrets if secret}, key=len, reverse=True)
        long_enough = [secret for secret in self._secrets if len(secret) >= _FORMS_FROM]
        self._forms = [form for secret in long_enough for form in _forms(secret)]
        self._shortest = min((min(_PART, len(form)) for form in self._forms), default=0)
        self._positions: dict[str, list[tuple[int, int]]] = {}

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        if not self._forms or len(text) < self._shortest:
            return text
        # Made once, at the first long text: a response may have thousands of short texts.
        positions = self._positions = self._positions or _index_pieces(self._forms)
        spans: list[tuple[int, int]] = []
        for layer, starts, ends in _layers(text):
            spans += [(starts[begin], ends[end - 1]) for begin, end in _find_spans(_normalise(layer), self._forms, positions)]
        if not spans:
            return text
        parts, position = [], 0
        for begin, end in sorted(spans):
            if begin >= position:
                parts += [text[position:begin], REDACTED]
            position = max(position, end)
        return "".join([*parts, text[position:]])


def _forms(secret: str) -> list[str]:
    """Return the normalised forms of `secret`: itself, in hex, and in base64 at each of the three alignments."""
    import base64

    raw = secret.encode("utf-8", "surrogatepass")
    forms = [raw.decode("latin-1"), raw.hex()]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode()
        # The characters at both ends depend on the neighbours of the secret.
        forms.append(encoded[-(-shift * 4 // 3) : (shift + len(raw)) * 4 // 3])
    return [_normalise(form) for form in forms]


def _normalise(text: str) -> str:
    """Return `text` in lower case. Characters that have several spellings in base64 or in form encoding get one spelling."""
    return text.lower().translate(_ONE_SPELLING)


def _index_pieces(forms: list[str]) -> dict[str, list[tuple[int, int]]]:
    """Return the pieces of `forms`, each with its positions: the number of the form, and the offset in it."""
    positions: dict[str, list[tuple[int, int]]] = {}
    for number, form in enumerate(forms):
        for offset in range(0, len(form) - _PIECE + 1, _PIECE):
            found = positions.setdefault(form[offset : offset + _PIECE], [])
            if len(found) < _MAX_POSITIONS:
                found.append((number, offset))
    return positions


def _find_spans(text: str, forms: list[str], positions: dict[str, list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """Return the spans of `text` that match a form, or `_PART` characters of a form."""
    spans, after = [], 0
    for offset in [offset for offset in range(len(text) - _PIECE + 1) if text[offset : offset + _PIECE] in positions]:
        if offset < after:
            continue
        longest_run = (offset, offset)
        for number, form_offset in positions[text[offset : offset + _PIECE]]:
            begin, end = _common_run(text, offset, forms[number], form_offset)
            if end - begin >= min(_PART, len(forms[number])) and end - begin > longest_run[1] - longest_run[0]:
                longest_run = (begin, end)
        if longest_run[1] > offset:
            spans.append(longest_run)
        after = longest_run[1] - _PIECE + 1
    return spans


def _common_run(text: str, offset: int, form: str, form_offset: int) -> tuple[int, int]:
    """Return the span of `text` around `offset` that equals `form` around `form_offset`."""
    before = 0
    while before < min(offset, form_offset) and text[offset - before - 1] == form[form_offset - before - 1]:
        before += 1
    after, limit = _PIECE, min(len(text) - offset, len(form) - form_offset)
    while after < limit and text[offset + after] == form[form_offset + after]:
        after += 1
    return offset - before, offset + after


def _layers(text: str) -> Iterator[tuple[str, Sequence[int], Sequence[int]]]:
    """Yield `text` and its unescaped versions, with one character per byte. Also yield, for each character, its start and end
    in `text`.
    """
    import re

    layer = text
    starts: Sequence[int] = range(len(text))
    ends: Sequence[int] = range(1, len(text) + 1)
    if not text.isascii():
        layer, starts, ends = _bytes_of((_as_bytes(character), position, position + 1) for position, character in enumerate(text))
    yield layer, starts, ends
    for _ in range(_LAYERS):
        if re.search(_ESCAPE, layer) is None:
            return
        layer, starts, ends = _bytes_of(_unescape_layer(layer, starts, ends))
        yield layer, starts, ends


def _unescape_layer(layer: str, starts: Sequence[int], ends: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    import re

    position = 0
    for match in re.finditer(_ESCAPE, layer):
        yield from zip(
            layer[position : match.start()], starts[position : match.start()], ends[position : match.start()], strict=True
        )
        position = match.end()
        yield _unescape(match[0]), starts[match.start()], ends[position - 1]
    yield from zip(layer[position:], starts[position:], ends[position:], strict=True)


def _unescape(escape: str) -> str:
    if escape[0] == "&":
        name = escape[1:-1].lower()
        if name[0] != "#":
            return _ENTITIES[name]
        number = int(f"0{name[1:]}", 16 if name[1] == "x" else 10)
        return _as_bytes(chr(number)) if number <= _HIGHEST else " "
    if escape[0] == "%":
        return chr(int(escape[1:], 16))
    digits = escape.lstrip("\\uUxX") if len(escape) > len("\\/") else ""
    return _as_bytes(chr(int(digits, 16))) if digits else escape[1:]


def _as_bytes(character: str) -> str:
    return character.encode("utf-8", "surrogatepass").decode("latin-1")


def _bytes_of(characters: Iterable[tuple[str, int, int]]) -> tuple[str, list[int], list[int]]:
    """Join the characters, one per byte. Each byte of a character has the character's position."""
    layer: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for character, start, end in characters:
        for byte in character:
            layer.append(byte)
            starts.append(start)
            ends.append(end)
    return "".join(layer), starts, ends
