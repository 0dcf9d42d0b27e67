"""The sign-in as steps over a prompter."""
