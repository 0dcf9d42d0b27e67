"""The errors of the token stores, the profile index and their contents."""

from __future__ import annotations

from portico.errors import SignInNeeded, StoreError, StoreUnknown, UsageError


class WhichProfile(UsageError):
    """The command needs one profile, but several match; or the match is not the profile that the prompt showed."""

    id = "which-profile"


class NotDeleted(StoreError):
    """A record could not be deleted."""

    id = "not-deleted"


class StateNewer(StoreError):
    """A later version of Portico wrote the file or record."""

    id = "state-newer"


class PassphraseNeeded(StoreError):
    """The encrypted file needs a passphrase, and no usable one is set."""

    id = "passphrase-needed"


class StoreKeyLost(StoreError):
    """The key of the encrypted file is damaged or missing."""

    id = "record-damaged"


class PassphraseWrong(StoreError):
    """The passphrase is wrong, or its two prompts differ."""

    id = "passphrase-wrong"


class RecordDamaged(StoreError):
    """A token record is damaged."""

    id = "record-damaged"


class RecordTooLong(StoreError):
    """A token record is too long for the store."""

    id = "record-too-long"


class KeyringUnavailable(StoreError):
    """No keyring is available, or it failed."""

    id = "keyring-unavailable"


class KeyringTimeout(StoreError):
    """The keyring did not answer in time, or the user did not answer the keyring's prompt. Nothing was written."""

    id = "keyring-timeout"


class KeyringUnknown(StoreUnknown):
    """A write to the keyring timed out. The record may or may not be written."""

    id = "keyring-unknown"


class KeyringLocked(StoreError):
    """The keyring is locked."""

    id = "keyring-locked"


class NotSignedIn(SignInNeeded):
    """The profile does not exist, or you are not signed in at all."""

    id = "not-signed-in"


class IndexDamaged(StoreError):
    """The profile index was damaged."""

    id = "index-damaged"


class ProfileDamaged(StoreError):
    """One entry of the profile index is damaged."""

    id = "record-damaged"


class RecordNotText(StoreError):
    """A token is not valid text."""

    id = "record-not-text"


class KeyringNotOpen(StoreError):
    """No open database of the keyring has the record, but a closed or hidden database may have it."""

    id = "keyring-locked"


class KeyringStartedEarly(StoreError):
    """gnome-keyring was started without the password of its login keyring."""

    id = "keyring-locked"


class PromptDismissed(StoreError):
    """The user dismissed the prompt of the keyring, or denied access."""

    id = "keyring-locked"


class StoreForgetful(StoreError):
    """The store accepted a record but did not return it later."""

    id = "store-forgetful"


class RecordMissing(StoreError):
    """The store does not have the tokens of a profile."""

    id = "record-damaged"


class TokensKeepChanging(StoreError):
    """Other processes replace the tokens faster than they can be read."""

    id = "generation-changed"
