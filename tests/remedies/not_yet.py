"""Remedies that no test follows yet. This list only shrinks: a new remedy has a scenario from the start."""

from __future__ import annotations

from typing import Final

NOT_YET: Final = frozenset(
    {
        # portico.auth.exchange
        "try again",
        # portico.auth.held
        "run the command again to use the new sign-in",
        # portico.auth.outcome
        "sign in again: {prog} onboard --auth-choice {}-api{} --profile {} --replace",
        "the client id, or its registration, does not fit this server: correct it with {prog} config edit, then sign in again: {prog} models auth login --provider {} --profile {} --replace",
        "the client id, or its registration, does not fit this server: correct it with {prog} config edit, then sign in again: {prog} onboard --auth-choice {}-api{} --profile {} --replace",
        "the first use after {} min tries again; if you cannot wait, sign in again: {prog} models auth login --provider {} --profile {} --replace",
        "the first use after {} min tries again; if you cannot wait, sign in again: {prog} onboard --auth-choice {}-api{} --profile {} --replace",
        # portico.auth.pause
        "tried {} s ago; it is tried again when asked for in {} s",
        # portico.store.atomic
        "Give less of it.",
        "free some of your disk quota and run the command again; nothing stored before was touched",
        "free some space on that disk and run the command again; nothing stored before was touched",
        "look at who put it there, then move it away: {}",
        "make that place yours (chown), or set PORTICO_STATE_DIR to a folder that is",
        "raise the file size limit of this shell (ulimit -f) and run the command again",
        "that file system is read-only: set PORTICO_STATE_DIR to a folder that can be written",
        "the disk reports an error: check it before you go on",
        "this process has too many files open: raise its limit (ulimit -n)",
        # portico.store.index_file
        "check it with: {prog} auth list",
        "run the command again",
        "sign in again: {prog} onboard",
        "upgrade, or set PORTICO_STATE_DIR to another folder; the file has not been touched",
        # portico.store.keyring_backend
        "{prog} onboard --store file",
        # portico.store.keyring_store
        "start it (log in to the desktop) and run the command again, or do without: {prog} onboard --store file   (keeps the tokens in a file sealed with a passphrase)",
        "unlock it (over SSH: security unlock-keychain) and run the command again",
        "unlock it (over SSH: security unlock-keychain) and run the command again; what may have been left is tidied up the next time",
        "unlock the keyring (log in to the desktop, or answer its prompt) and run the command again",
        "unlock the keyring (log in to the desktop, or answer its prompt) and run the command again; what may have been left is tidied up the next time",
        # portico.store.lock
        "check that {} is a folder you own, on a file system that can lock files",
        "try again when it has finished",
        "try again, or look at what process {} is doing",
        # portico.store.long_record
        "leave --store out: the record is then sealed in a file, and only its key is in the keyring",
        # portico.store.profiles
        "sign in again, or remove it: {prog} auth logout {}",
        # portico.store.records
        "the provider sent something that is hardly a token: tell its plugin's author",
        "upgrade; nothing has been changed",
        # portico.store.sealed_file
        "give the passphrase the store was made with; if it is lost, move that folder away and sign in again",
        "put it back from a backup, or sign in again: {prog} onboard --store file",
        # portico.store.sealing
        "upgrade; the file has not been touched",
        # portico.store.secret_service
        "kill {}, then run gnome-keyring-daemon --unlock and type the password and Ctrl-D; or: {prog} onboard --store file   (keeps the tokens in a file sealed with a passphrase)",
        "log in to the desktop with a password, or make a keyring there (Passwords and Keys)",
        "log in to the desktop, or kill {}, then run gnome-keyring-daemon --unlock and type the password and Ctrl-D; or: {prog} onboard --store file   (keeps the tokens in a file sealed with a passphrase)",
        "open a database, and expose a group of it in Database Settings, Secret Service Integration",
        "open the database that has Portico's entries in {}, and run the command again",
        "run the command again and allow it; or: {prog} onboard --store file   (keeps the tokens in a file sealed with a passphrase)",
        "run the command again and answer its window",
        "unlock that database, or bring to the front the one that has Portico's entries",
        "unlock the keyring and run the command again",
        "unset {}, or set it to one of them",
        "{}; or: {prog} onboard --store file   (keeps the tokens in a file sealed with a passphrase)",
        # portico.store.vault
        "choose another store: {prog} onboard --store file",
        "choose another with --profile",
        "{prog} onboard",
        "{}; if nothing has it any more, sign in again: {prog} models auth login --provider {} --profile {} --replace",
        "{}; if nothing has it any more, sign in again: {prog} onboard --auth-choice {}-api{} --profile {} --replace",
    }
)
