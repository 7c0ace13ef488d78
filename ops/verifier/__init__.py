"""The offline verifier of the audit log. This folder stands alone: copied anywhere, `python -m verifier` runs.

Needs Python 3.11, and `cryptography` for the signatures; neither the database nor any other part of the project.
"""
