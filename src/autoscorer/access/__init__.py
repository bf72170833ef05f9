"""Who may do what: organisations, roles, tokens. Policy is a table; the store keeps the rest."""
