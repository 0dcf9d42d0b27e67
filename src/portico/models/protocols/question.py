"""One question, whatever protocol it is asked over, and the pieces that its answer comes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.provider_spec import ApiKind
    from portico.models.usage import Usage

Effort = Literal["low", "medium", "high", "xhigh", "max"]
Thinking = Literal["on", "off"]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: its media type (`image/png`) and its bytes in base64."""

    media_type: str
    data: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. `max_tokens` bounds the answer.

    `effort` None leaves it to the model how much it thinks, `thinking` None whether. Which of them a model takes, and in which
    form, `portico.models.thinking` knows.
    """

    text: str
    max_tokens: int
    images: tuple[Image, ...] = ()
    effort: Effort | None = None
    thinking: Thinking | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event of a stream says. `end`: the answer is whole; `refused`: the provider's words where it broke off."""

    text: str = ""
    usage: Usage | None = None
    end: bool = False
    refused: str | None = None


class ApiProtocol(Protocol):
    """How one API is spoken. Pure: no I/O, no state."""

    api: ApiKind

    def url(self, base_url: str) -> str:
        """Where questions go under an API base, with or without its version."""
        ...

    def headers(self) -> Mapping[str, str]:
        """What every request carries besides its credential."""
        ...

    def body(self, model_id: str, question: Question) -> dict[str, object]:
        """The request for a streamed answer."""
        ...

    def read(self, event: Mapping[str, object]) -> Piece:
        """What an event of the stream says; an event that is none of this protocol says nothing."""
        ...

    def usage(self, answer: Mapping[str, object]) -> Usage | None:
        """What a whole, unstreamed answer has used; None where it does not tell."""
        ...


def failure_text(event: Mapping[str, object]) -> str:
    """The provider's own words in an event that tells of a failure."""
    error = event.get("error")
    message = error.get("message") if isinstance(error, dict) else event.get("message")
    return message if isinstance(message, str) and message else "the provider gave no reason"
