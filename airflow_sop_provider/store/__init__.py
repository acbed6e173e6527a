"""What the engine remembers: its tables, and services that read and write them in a caller's session.

No Airflow here: whoever has a SQLAlchemy `Session` on the database can use it, which is the API server, the
executor's child and tests. Services never commit; the caller's transaction decides, so that a fact and what
follows from it (an escalation in the outbox) are stored together or not at all.
"""
