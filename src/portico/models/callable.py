"""A model that can be called: everything a request needs but a profile's token."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.errors import PorticoError
    from portico.interfaces.provider_spec import ApiKind, ModelSpec, RefusalKind
    from portico.models.reference import ModelReference
    from portico.secret import Secret


@dataclass(frozen=True, slots=True)
class CallableModel:
    """One model with one credential.

    Either `profile_id` names the profile whose token to ask the broker for, or `key` is the credential, or the provider
    takes none. `source` tells where the credential comes from, in words. `bases` are the API bases by protocol, `base_url` is
    that of `api`. `listed`: the catalogue has the model; `near` is what was probably meant where it does not. `fingerprint`
    changes with the key and with how and where the model is called, `signed_in_at` with the profile's sign-in (wall ms; 0 without
    one). `has_regions`: the provider has accounts of several regions, each of which is refused in the others.
    `sign_in_again` is the command that replaces the profile; `{prog}` in it stands for the program name.
    """

    reference: ModelReference
    spec: ModelSpec
    api: ApiKind
    base_url: str
    source: str
    auth_header: Literal["bearer", "x-api-key"] = "bearer"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    profile_id: str | None = None
    key: Secret | None = None
    bases: Mapping[ApiKind, str] = field(default_factory=dict)
    error_codes: Mapping[int, RefusalKind] = field(default_factory=dict, repr=False)
    subscribe_url: str | None = None
    listed: bool = True
    near: tuple[str, ...] = ()
    fingerprint: str = ""
    signed_in_at: int = 0
    has_regions: bool = False
    sign_in_again: str | None = None


@dataclass(frozen=True, slots=True)
class Passed:
    """A model that was to be called and cannot be, and why."""

    reference: ModelReference
    error: PorticoError


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a name stands for: the candidates in the order they are tried, at least one, and those that cannot be called.

    `wanted` is the model that was asked for, which may be among the latter; None where it is the first candidate.
    """

    candidates: tuple[CallableModel, ...]
    passed: tuple[Passed, ...] = ()
    wanted: ModelReference | None = None

    @property
    def model(self) -> CallableModel:
        return self.candidates[0]
