"""The offline verifier of the audit log. The folder stands alone: copied anywhere, it runs by `python -m verifier`.

It needs Python 3.11, and `cryptography` for the signatures, but neither the database nor another part of the project.
"""
