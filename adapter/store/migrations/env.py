"""Run by alembic for a migration: on the connection that `adapter/store/migrate.py` hands over, in its transaction."""

from alembic import context

from adapter.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
