"""The Alembic environment. New revision: `python -m opencph.store.migrations "what changes"`."""
