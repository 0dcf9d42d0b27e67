"""The sign-in and the wizard, as steps over a prompter."""
