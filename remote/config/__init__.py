"""cluster.toml: read, checked, explained. The only room that imports pydantic. All rooms of `remote` may enter."""
