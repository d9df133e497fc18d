"""Tables, named queries and migrations; SQLite and PostgreSQL behind one small port (`store.database`)."""
