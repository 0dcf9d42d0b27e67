"""Sign-ins that other tools keep in files of their own, as public sources show those files.

Readers only read: from a parsed file to the credentials in it. What is done with them, and with the file, is decided elsewhere.
"""
