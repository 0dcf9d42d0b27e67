"""Accounts in other tools' files, in the formats that public sources document.

A reader only converts a parsed file to the credentials in the file. Other code decides what to do with the credentials and the
file.
"""
