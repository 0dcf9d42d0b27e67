"""What can be wrong with a store of credentials, the profile index and what they hold."""

from __future__ import annotations

from portico.errors import SignInNeeded, StoreError, StoreUnknown, UsageError


class WhichProfile(UsageError):
    """Several profiles fit, or another one than the user was asked about, and the command is for one."""

    id = "which-profile"


class NotDeleted(StoreError):
    """Something that was to be deleted is still there."""

    id = "not-deleted"


class StateNewer(StoreError):
    """A later version of Portico wrote this."""

    id = "state-newer"


class PassphraseNeeded(StoreError):
    """The encrypted store needs a passphrase, and none that can be used was given."""

    id = "passphrase-needed"


class StoreKeyLost(StoreError):
    """The file with the key of the encrypted store is damaged or gone."""

    id = "record-damaged"


class PassphraseWrong(StoreError):
    """The passphrase is not the one of the encrypted store, or was typed in two ways."""

    id = "passphrase-wrong"


class RecordDamaged(StoreError):
    """The store holds a record that cannot be understood."""

    id = "record-damaged"


class RecordTooLong(StoreError):
    """The store takes no record of this length."""

    id = "record-too-long"


class KeyringUnavailable(StoreError):
    """There is no keyring that can be used, or it refuses."""

    id = "keyring-unavailable"


class KeyringTimeout(StoreError):
    """The keyring, or the person at its window, did not answer in time. Nothing was written."""

    id = "keyring-timeout"


class KeyringUnknown(StoreUnknown):
    """A write to the keyring ran past its deadline."""

    id = "keyring-unknown"


class KeyringLocked(StoreError):
    """The keyring is locked, and it was not unlocked."""

    id = "keyring-locked"


class NotSignedIn(SignInNeeded):
    """There is no such profile, or none at all."""

    id = "not-signed-in"


class IndexDamaged(StoreError):
    """The file that lists the profiles was damaged."""

    id = "index-damaged"


class ProfileDamaged(StoreError):
    """One entry of the profile index is damaged."""

    id = "record-damaged"


class RecordNotText(StoreError):
    """A token is no text that a store could give back."""

    id = "record-not-text"


class KeyringNotOpen(StoreError):
    """No open database of the keyring has the record; one that is closed or not exposed may have it."""

    id = "keyring-locked"


class KeyringStartedEarly(StoreError):
    """gnome-keyring was started without the password of its login keyring."""

    id = "keyring-locked"


class PromptDismissed(StoreError):
    """A person closed the window of the keyring, or denied the access."""

    id = "keyring-locked"


class StoreForgetful(StoreError):
    """The store took a record and did not give it back."""

    id = "store-forgetful"


class RecordMissing(StoreError):
    """A profile is listed and its tokens are not in the store."""

    id = "record-damaged"


class TokensKeepChanging(StoreError):
    """Other processes store new tokens faster than they can be read."""

    id = "generation-changed"
