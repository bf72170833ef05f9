"""The store in SQL, for SQLite and PostgreSQL: with the migrations, all that imports SQLAlchemy."""
