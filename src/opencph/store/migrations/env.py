"""What Alembic runs to get at the database: the connection that `store.migrate.upgrade` opened. Not imported by anything."""

from alembic import context

from opencph.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
with context.begin_transaction():
    context.run_migrations()
